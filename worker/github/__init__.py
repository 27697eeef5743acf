"""Asking GitHub: questions that Tenure has, and what the answers mean for a policy.

- `answers`: what is answered, and the tree of errors for everything else.
- `client`: the questions.
- `credentials`: who asks, as the App or as one of its installations.
- `wire`: one request and its answer, within a time and a size.
- `refusals`: what an answer other than a 2xx means.
- `models`: what is read of GitHub's JSON.
- `budget`: how many calls an installation has left, and who may use the last of them.

Nothing here knows policies, the store or the settings.
"""

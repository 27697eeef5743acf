"""The life of a policy, as pure functions of what is known about it and the time.

Nothing here reads a clock, a network or a store, and nothing outside the standard library is imported.
Times are integers: microseconds since 1970-01-01 UTC.

- `facts`: observations, and how a set of them is kept.
- `scopes`: what an observation is about, and which policies it concerns.
- `registration`: what a package owner asked for.
- `tenure`: which repository a policy stands for, and the windows it was given.
- `decide`: facts and the clock in, standing out.
- `views`: what others may read of it, and what each change is called.
- `claims`: would this token match a policy?
- `decision`: which policy of its repository lets it publish.
"""

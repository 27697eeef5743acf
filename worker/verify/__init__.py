"""Asking GitHub whether what is believed is true. Every answer is an observation, and goes the way of all observations.

- `inquiry`: what there is to ask of an owner, and what is believed so far: pure.
- `evidence`: an answer in, observations out: pure.
- `interview`, `repositories`, `people`: the questions, in the order in which they are asked.
- `losses`: when a 404 is believed.
- `access`: with which installation to ask.
- `verifier`: asks about one owner, and settles what it learnt.
- `sweeper`: verifies every owner again and again, the stalest first.
- `deliveries`: finds webhooks that did not reach us.
- `root`: how the parts are put together.
"""

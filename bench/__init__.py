"""The benchmark: Tenure's full path beside other queues' no-op jobs, and what the rest of Tenure costs.

`python -m bench` measures everything in one run; `python -m bench path peers` only some groups.
"""

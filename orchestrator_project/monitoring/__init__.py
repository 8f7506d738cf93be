"""What a machine asks of the system: whether it lives, whether it is ready, and its figures.

`heartbeats` notes when beat and its tasks were last seen; `servers` and `record` read Redis and Postgres; `readiness`
judges what was read; `totals` keeps the counters cheap; `exposition` puts it all into Prometheus's form; `pages` are
the three addresses.
"""

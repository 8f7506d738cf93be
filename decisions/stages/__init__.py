"""The stages of a cycle: one module, one function each.

A stage is called with a claimed cycle (see `decisions.cycles`) and the market time. It loads, asks one pure function
or one client, and writes its result together with the cycle's next state.
"""

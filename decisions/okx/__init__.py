"""Market data of OKX's public REST interface, version 5: no key, no other service between.

`rows` reads what it answers, `history` knows which candles to ask for next, `pace` how often one may ask, `feed` makes
the snapshots: all of them pure. `watch` and `service` ask and publish.
"""

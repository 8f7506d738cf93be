"""Alerts for people who look at no screen: by Telegram and by webhook, both off until they are set.

`outbox.record_alert` writes a delivery for each channel in the transaction of the alert. `plan` (pure) says what goes
out now and what is only counted, `telegram` and `webhook` send it, `delivery` does the round, `watch` runs it beside
the stream consumer. Nothing that trades waits for any of it.
"""

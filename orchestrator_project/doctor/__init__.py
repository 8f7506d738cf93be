"""`manage.py doctor`: everything that has to be right before trading, looked at one by one.

`findings` judges (pure), `probes` reads this installation, `online` asks the services outside.
"""

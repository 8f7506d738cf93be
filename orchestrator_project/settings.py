"""Every setting, read once from the environment and the settings file `.env` in the project's root.

A mistake stops the process here, before anything has started: all problems in one message, exit code 2.
`manage.py show_config` prints what is in force; `.env.example` lists what may be set.
"""

import os
import re
import sys
from datetime import timedelta
from pathlib import Path

from csp.constants import NONE, SELF, UNSAFE_EVAL

from orchestrator_project import logs
from orchestrator_project.live_settings import LIVE_NEEDS, OWN_NAMES, weaknesses
from orchestrator_project.local import endpoints
from orchestrator_project.parameters import Parameters, read_settings_file
from risk.limits import LIMIT_FIELDS, Limits, LimitsError, parse_limits

BASE_DIR = Path(__file__).resolve().parent.parent
SETTINGS_FILE = Path(os.environ.get("SETTINGS_FILE") or BASE_DIR / ".env")
QUEUES = ("cycle", "screen", "research", "analyze", "risk", "execute", "reflect", "journal")

DAY = 86_400

read = Parameters(os.environ, read_settings_file(SETTINGS_FILE))

read.group("Models")
ANTHROPIC_API_KEY = read.key("ANTHROPIC_API_KEY", "Key of the Anthropic API; without it the offline model answers")
ANTHROPIC_BASE_URL = read.url(
    "ANTHROPIC_BASE_URL",
    "https://api.anthropic.com",
    "Address of the Anthropic API, or of a proxy for it",
    schemes=("https", "http"),
    secret=False,
)
OPUS_MODEL = read.text("OPUS_MODEL", "claude-opus-4-6", "The big model: analyses and reflects")
HAIKU_MODEL = read.text("HAIKU_MODEL", "claude-haiku-4-5-20251001", "The small model: screens")
OPUS_MAX_TOKENS = read.integer("OPUS_MAX_TOKENS", 4096, "Longest analysis", at_least=256, at_most=64_000)
HAIKU_MAX_TOKENS = read.integer("HAIKU_MAX_TOKENS", 100, "Longest screening reply", at_least=20, at_most=4096)
MAX_OPUS_TIMEOUT_SECONDS = read.integer(
    "MAX_OPUS_TIMEOUT_SECONDS", 30, "Deadline of one analysis or screening, retries included", at_least=1, at_most=600
)
OPUS_EFFORT = read.text(
    "OPUS_EFFORT",
    "",
    "Effort asked of the big model; empty: not sent",
    choices=("", "low", "medium", "high", "xhigh", "max"),
)
OPUS_TEMPERATURE = read.optional_decimal(
    "OPUS_TEMPERATURE",
    "0.2",
    "Sampling temperature of the big model, sent only to models that still take one",
    at_least="0",
    at_most="1",
)
REFLECTION_MAX_TOKENS = read.integer(
    "REFLECTION_MAX_TOKENS", 16_000, "Longest reflection", at_least=1000, at_most=64_000
)
REFLECTION_TIMEOUT_SECONDS = read.integer(
    "REFLECTION_TIMEOUT_SECONDS", 180, "Deadline of one reflection, retries included", at_least=1, at_most=1800
)
DAILY_MODEL_BUDGET_USD = read.decimal(
    "DAILY_MODEL_BUDGET_USD",
    "15",
    "Money for models a day; at 80 % an alert and no audits, spent: no openings, exits are managed",
    at_least="0",
    at_most="100000",
)
MODEL_RECORD = read.optional_path("MODEL_RECORD", "Folder in which every exchange with a model is recorded")
MODEL_REPLAY = read.optional_path("MODEL_REPLAY", "Folder of recorded exchanges to answer from, without a network")

read.group("Research")
PERPLEXITY_API_KEY = read.key("PERPLEXITY_API_KEY", "Key of the Perplexity API; without it research is offline")
PERPLEXITY_MODEL = read.text("PERPLEXITY_MODEL", "perplexity/sonar", "Model of the Perplexity Agent API")
PERPLEXITY_BASE_URL = read.url(
    "PERPLEXITY_BASE_URL",
    "https://api.perplexity.ai",
    "Address of the Perplexity API, or of a proxy for it",
    schemes=("https", "http"),
    secret=False,
)
RESEARCH_TIMEOUT_SECONDS = read.integer(
    "RESEARCH_TIMEOUT_SECONDS", 60, "Deadline of one research, retries included", at_least=1, at_most=600
)
RESEARCH_CACHE_TTL_SECONDS = read.integer(
    "RESEARCH_CACHE_TTL_SECONDS", 3600, "How long a research answers again, market time", at_least=0, at_most=DAY
)
RESEARCH_BEFORE_NEWS = read.boolean("RESEARCH_BEFORE_NEWS", True, "Research before scheduled news")
RESEARCH_REQUIRED_IN_NEWS = read.boolean(
    "RESEARCH_REQUIRED_IN_NEWS", False, "In a news window a failed research ends the cycle"
)
NEWS_WINDOW_MINUTES = read.integer(
    "NEWS_WINDOW_MINUTES", 30, "Minutes before scheduled news that count as its window", at_least=0, at_most=1440
)
FRED_API_KEY = read.key("FRED_API_KEY", "Key of the FRED API: a second source of release dates (live only)")

read.group("Decision cycle")
INSTRUMENTS = read.names(
    "INSTRUMENTS",
    '["BTC-USDT-SWAP"]',
    "Instruments to trade",
    pattern=lambda name: re.fullmatch(r"[A-Z0-9]+(-[A-Z0-9]+)+", name) is not None and len(name) <= 30,
    like="BTC-USDT-SWAP",
)
DECISION_CYCLE_SECONDS = read.integer(
    "DECISION_CYCLE_SECONDS", 300, "Length of a decision cycle, market time", at_least=60, at_most=DAY
)
SWEEP_SECONDS = read.integer("SWEEP_SECONDS", 15, "How often unfinished cycles are looked for", at_least=1, at_most=300)
MAX_POSITIONS_AGE_SECONDS = read.integer(
    "MAX_POSITIONS_AGE_SECONDS", 120, "Positions older than this open nothing", at_least=5, at_most=3600
)

read.group("Market data")
OKX_BASE_URL = read.url(
    "OKX_BASE_URL",
    "https://www.okx.com",
    "Address of OKX's public interface for `market --source okx`; accounts of the EEA and the US have their own",
    schemes=("https", "http"),
    secret=False,
)
OKX_FEED_SECONDS = read.integer(
    "OKX_FEED_SECONDS", 30, "Seconds from one snapshot of an instrument to the next, from OKX", at_least=5, at_most=60
)

read.group("Screener")
SCREENER_ENABLED = read.boolean("SCREENER_ENABLED", True, "Ask the small model first")
SCREENER_BYPASS_ON_POSITION = read.boolean(
    "SCREENER_BYPASS_ON_POSITION", True, "An open position goes straight to the big model"
)
SCREENER_BYPASS_ON_NEWS = read.boolean("SCREENER_BYPASS_ON_NEWS", True, "A news window does so too")
SCREENER_MIN_PASS_RATE = read.decimal(
    "SCREENER_MIN_PASS_RATE", "0.10", "Alert when fewer pass, over the last 100", at_least="0", at_most="1"
)
SCREENER_LOG_ALL = read.boolean("SCREENER_LOG_ALL", True, "Keep the snapshot with every screening")
SCREENER_AUDIT_RATE = read.decimal(
    "SCREENER_AUDIT_RATE",
    "0.02",
    "Share of screened-out cycles that the big model judges in shadow",
    at_least="0",
    at_most="1",
)
ANOMALY_PRICE_CHANGE_1H = read.decimal(
    "ANOMALY_PRICE_CHANGE_1H", "0.03", "Anomaly: 1 h change beyond this, either way", at_least="0", at_most="1"
)
ANOMALY_FUNDING_HIGH = read.decimal(
    "ANOMALY_FUNDING_HIGH", "0.0005", "Anomaly: funding rate above this", at_least="0", at_most="1"
)
ANOMALY_FUNDING_LOW = read.decimal(
    "ANOMALY_FUNDING_LOW", "-0.0003", "Anomaly: funding rate below this", at_least="-1", at_most="0"
)
ANOMALY_OI_CHANGE_4H = read.decimal(
    "ANOMALY_OI_CHANGE_4H", "0.10", "Anomaly: 4 h open-interest change beyond this", at_least="0", at_most="10"
)

read.group("Reflection")
REFLECTION_INTERVAL_TRADES = read.integer(
    "REFLECTION_INTERVAL_TRADES", 20, "Deep reflection every so many trades", at_least=1, at_most=10_000
)
REFLECTION_INTERVAL_HOURS = read.integer(
    "REFLECTION_INTERVAL_HOURS", 6, "Or every so many hours, whichever is first", at_least=1, at_most=720
)
PLAYBOOK_PROMOTION = read.text(
    "PLAYBOOK_PROMOTION",
    "immediate",
    "A playbook of reflection's trades at once, or challenges until a person (manual) or its record (auto) decides",
    choices=("immediate", "manual", "auto"),
)
CHALLENGER_SHARE = read.decimal(
    "CHALLENGER_SHARE",
    "0.25",
    "Share of the analysed cycles that a challenger is asked about too, in shadow",
    at_least="0",
    at_most="1",
)
CHALLENGER_MIN_TRADES = read.integer(
    "CHALLENGER_MIN_TRADES",
    30,
    "Closed shadow trades before a challenger's record is looked at; then at twice as many, four times, and so on",
    at_least=10,
    at_most=10_000,
)

read.group("Orders")
ORDER_TTL_MARKET_SECONDS = read.integer(
    "ORDER_TTL_MARKET_SECONDS", 30, "A market order expires after this, wall clock", at_least=1, at_most=600
)
ORDER_TTL_LIMIT_SECONDS = read.integer(
    "ORDER_TTL_LIMIT_SECONDS", 300, "A limit order expires after this, market time", at_least=1, at_most=DAY
)
CONFIRM_TIMEOUT_SECONDS = read.integer(
    "CONFIRM_TIMEOUT_SECONDS", 60, "An order unanswered for this long is unknown", at_least=1, at_most=600
)
PROTECTION_DEADLINE_SECONDS = read.integer(
    "PROTECTION_DEADLINE_SECONDS", 15, "A position without a stop for this long is closed", at_least=1, at_most=300
)

read.group("Sandbox")
SANDBOX = read.boolean("SANDBOX", True, "Stand-ins for market and venue; false: live, the real services are used")
SANDBOX_BAR_SECONDS = read.decimal(
    "SANDBOX_BAR_SECONDS", "5", "Wall seconds from one bar to the next", at_least="0.01", at_most="3600"
)
SANDBOX_SEED = read.integer("SANDBOX_SEED", 1, "Seed of the generated market", at_least=0, at_most=2**32 - 1)
SANDBOX_MODEL = read.text(
    "SANDBOX_MODEL",
    "disciplined",
    "The offline model: disciplined trades the playbook, reckless tries to break every limit",
    choices=("disciplined", "reckless"),
)
SANDBOX_LOCKSTEP = read.boolean(
    "SANDBOX_LOCKSTEP", False, "The slots are ticked by `runstack --lockstep`, which sets this itself"
)
MAX_SNAPSHOT_AGE_SECONDS = read.integer(
    "MAX_SNAPSHOT_AGE_SECONDS",
    2 * DECISION_CYCLE_SECONDS if SANDBOX else 120,
    "Data older than this opens nothing, market time; 120 live, two cycles in the sandbox",
    at_least=5,
    at_most=2 * DAY,
)

read.group("Servers and processes")
LOCAL_DIR = read.path("LOCAL_DIR", BASE_DIR / ".local", "Folder of the embedded servers, logs and keys", shown=".local")
DATABASE_URL = read.url(
    "DATABASE_URL", "", "Postgres 15 or newer; unset: an embedded server", schemes=("postgres", "postgresql")
)
REDIS_URL = read.url(
    "REDIS_URL", "", "Redis 6.2 or newer, or Valkey; unset: an embedded server", schemes=("redis", "rediss", "unix")
)
STREAM_MAX_LENGTH = read.integer(
    "STREAM_MAX_LENGTH", 10_000, "Entries kept on the streams trimmed by length", at_least=100, at_most=10_000_000
)
STREAM_RETENTION_SECONDS = read.integer(
    "STREAM_RETENTION_SECONDS",
    DAY,
    "Orders, fills and alerts stay on their streams this long once processed (positions ten minutes)",
    at_least=60,
    at_most=365 * DAY,
)
SNAPSHOT_RETENTION_DAYS = read.integer(
    "SNAPSHOT_RETENTION_DAYS",
    35,
    "Recorded snapshots are kept this long; a deep reflection looks 30 days back, to the prices of then",
    at_least=31,
    at_most=3650,
)
ALIVE_FILE = read.optional_path(
    "ALIVE_FILE", "File that beat, a worker, the consumer, market and venue touch while they live: for health checks"
)
WORKER_CONCURRENCY = read.integer("WORKER_CONCURRENCY", 2, "Pool processes of a local worker", at_least=1, at_most=64)
WORKER_CONCURRENCIES = {
    queue: read.integer(
        f"WORKER_CONCURRENCY_{queue.upper()}",
        WORKER_CONCURRENCY,
        f"Pool processes of the worker of the queue `{queue}`, where it has one of its own",
        at_least=1,
        at_most=64,
    )
    for queue in QUEUES
}

read.group("Web")
WEB_PORT = read.integer("WEB_PORT", 8000, "Preferred port; the next free one is taken", at_least=1024, at_most=65_535)
FLOWER_PORT = read.integer(
    "FLOWER_PORT", 5555, "Preferred port; the next free one is taken", at_least=1024, at_most=65_535
)
FLOWER_BASIC_AUTH = read.secret("FLOWER_BASIC_AUTH", "user:password for Flower; it listens on loopback only")
ADMIN_USERNAME = read.text("ADMIN_USERNAME", "admin", "The first administrator, made by `seed`")
METRICS_TOKEN = read.secret(
    "METRICS_TOKEN", "Bearer token for /metrics; without one only this machine itself may read it"
)
REQUIRE_SECOND_FACTOR = read.boolean(
    "REQUIRE_SECOND_FACTOR",
    not SANDBOX,
    "Nobody uses the admin without a second factor; always so live, off in the sandbox",
)
HTTPS_ONLY = read.boolean(
    "HTTPS_ONLY",
    not SANDBOX,
    "Pages over https alone; on live, off in the sandbox. Live without it only on this machine's own names",
)
TRUSTED_PROXIES = read.integer(
    "TRUSTED_PROXIES",
    0,
    "Proxies before the web server whose X-Forwarded-Proto and X-Forwarded-For are believed; 0: none is",
    at_least=0,
    at_most=5,
)
SECRET_KEY = read.secret("SECRET_KEY", "Django's key; unset: made once in LOCAL_DIR (sandbox only)")
DEBUG = read.boolean("DEBUG", False, "Django's debug pages")
ALLOWED_HOSTS = read.names(
    "ALLOWED_HOSTS", "localhost,127.0.0.1", "Host names the web server answers to", pattern=bool, like="localhost"
)

read.group("Commands")
COMMAND_HMAC_KEY = read.secret(
    "COMMAND_HMAC_KEY", "Key by which commands on system:alerts are signed; set: what is not signed by it is refused"
)

read.group("Alerts")
TELEGRAM_BOT_TOKEN = read.key("TELEGRAM_BOT_TOKEN", "Token of a Telegram bot that tells alerts; with TELEGRAM_CHAT_ID")
TELEGRAM_CHAT_ID = read.text(
    "TELEGRAM_CHAT_ID", "", "Chat in which the bot tells them: its number, or @name of a channel"
)
TELEGRAM_BASE_URL = read.url(
    "TELEGRAM_BASE_URL",
    "https://api.telegram.org",
    "Address of the Telegram Bot API, or of a server of your own",
    schemes=("https", "http"),
    secret=False,
)
ALERT_WEBHOOK_URL = read.url(
    "ALERT_WEBHOOK_URL", "", "Address to which alerts are posted as JSON; none: no webhook", schemes=("https", "http")
)
ALERT_WEBHOOK_KEY = read.secret("ALERT_WEBHOOK_KEY", "Key by which what is posted is signed; see docs/alerts.md")
ALERT_MIN_SEVERITY = read.text(
    "ALERT_MIN_SEVERITY",
    "WARN",
    "Least severity told by Telegram and webhook; system:alerts and the admin have all",
    choices=("INFO", "WARN", "CRITICAL"),
)

read.group("Logs")
LOG_LEVEL = read.text("LOG_LEVEL", "INFO", "Least level logged", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
LOG_JSON = read.boolean(
    "LOG_JSON", not SANDBOX, "JSON lines instead of text; the default is true when SANDBOX is false"
)

# Limits are the risk gate's own: its parser knows their ceilings and refuses misspelt names.
read.group("Risk limits")
for limit in LIMIT_FIELDS:
    read.declare(limit.name, limit.default, limit.description, kind="number", allowed=limit.allowed)
try:
    RISK_LIMITS: Limits = parse_limits(
        os.environ,
        read.settings_file,
        other_known=read.declared.keys(),
    )
except LimitsError as error:
    read.problems.extend(error.problems)

read.problems.extend(
    weaknesses(
        live=not SANDBOX,
        given={name for name in LIVE_NEEDS if read.given(name)},
        secret_key=SECRET_KEY,
        debug=DEBUG,
        hosts=ALLOWED_HOSTS,
        second_factor=REQUIRE_SECOND_FACTOR,
        https_only=HTTPS_ONLY,
        command_key=COMMAND_HMAC_KEY,
        passwords={
            "FLOWER_BASIC_AUTH": FLOWER_BASIC_AUTH.partition(":")[2],
            "METRICS_TOKEN": METRICS_TOKEN,
            "ALERT_WEBHOOK_KEY": ALERT_WEBHOOK_KEY,
        },
    )
)
if MODEL_RECORD and MODEL_REPLAY:
    read.problems.append("MODEL_RECORD and MODEL_REPLAY: only one of them at a time")
if MODEL_RECORD and not os.access(
    next(each for each in (MODEL_RECORD, *MODEL_RECORD.parents) if each.exists()), os.W_OK
):
    read.problems.append(f"MODEL_RECORD={str(MODEL_RECORD)!r}: cannot be written")
if MODEL_REPLAY and not MODEL_REPLAY.is_dir():
    read.problems.append(f"MODEL_REPLAY={str(MODEL_REPLAY)!r}: must be a folder that a recording has filled")
if bool(TELEGRAM_BOT_TOKEN) != bool(TELEGRAM_CHAT_ID):
    read.problems.append("TELEGRAM_BOT_TOKEN and TELEGRAM_CHAT_ID: both or neither")
if FLOWER_BASIC_AUTH and not all(FLOWER_BASIC_AUTH.partition(":")):
    read.problems.append("FLOWER_BASIC_AUTH: must be user:password")
if read.problems:
    print("The settings are wrong:", *(f"  {problem}" for problem in read.problems), sep="\n", file=sys.stderr)
    print("`.env.example` lists every setting.", file=sys.stderr)
    raise SystemExit(2)

# Far above what any stage takes: one that waits for a model ends by the model's own deadline.
LONGEST_TASK_SECONDS = max(90, MAX_OPUS_TIMEOUT_SECONDS, RESEARCH_TIMEOUT_SECONDS, REFLECTION_TIMEOUT_SECONDS) + 30

# Where a URL is not given, the embedded server's; what starts it is orchestrator_project.local.
EMBEDDED_POSTGRES = not DATABASE_URL
EMBEDDED_REDIS = not REDIS_URL
DATABASE_URL = DATABASE_URL or endpoints.database_url(LOCAL_DIR)
REDIS_URL = REDIS_URL or endpoints.redis_url(LOCAL_DIR)
BROKER_URL = endpoints.broker_url(REDIS_URL)
SECRET_KEY = SECRET_KEY or endpoints.generated_secret_key(LOCAL_DIR)
# This machine's own names too: by them health checks and Prometheus ask, whatever name the pages have.
ALLOWED_HOSTS = [*dict.fromkeys([*ALLOWED_HOSTS, *sorted(OWN_NAMES)])]

# Django
ROOT_URLCONF = "orchestrator_project.urls"
WSGI_APPLICATION = "orchestrator_project.wsgi.application"
INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "axes",
    "csp",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "django_otp.plugins.otp_static",
    "orchestrator_project",
    "journal",
    "risk",
    "decisions",
    "reflection",
    "orchestrator_project.accounts",  # the last: it writes the roles once all permissions are there
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "orchestrator_project.accounts.headers.PolicyHeaders",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_otp.middleware.OTPMiddleware",
    "orchestrator_project.accounts.gate.SecondFactorGate",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATABASES = {
    "default": {
        **endpoints.database(DATABASE_URL),
        # Kept open between requests and tasks: a new connection costs more than the work done on it.
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORDS = "django.contrib.auth.password_validation"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"{PASSWORDS}.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": f"{PASSWORDS}.CommonPasswordValidator"},
    {"NAME": f"{PASSWORDS}.NumericPasswordValidator"},
    {"NAME": f"{PASSWORDS}.UserAttributeSimilarityValidator"},
    {"NAME": "orchestrator_project.accounts.record.PasswordRecord"},
]
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
SESSION_COOKIE_AGE = 12 * 3600
LOGIN_REDIRECT_URL = "admin:index"

# Who is wrong five times, from one place with one name, waits; a password and then a code count alike.
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_RESET_ON_SUCCESS = False  # `accounts` forgets the failures, once the second factor was shown too.
AXES_CLIENT_IP_CALLABLE = "orchestrator_project.accounts.record.client_address"
AXES_LOCKOUT_CALLABLE = "orchestrator_project.accounts.pages.locked_out"
AXES_SENSITIVE_PARAMETERS = ["username", "ip_address", "password", "code", "csrfmiddlewaretoken"]
AXES_DISABLE_ACCESS_LOG = True  # `accounts` has a record of its own, which the database keeps as it is.
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False

# What a page may do. The theme's Alpine evaluates its attributes; inline scripts there are none.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF, UNSAFE_EVAL],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "connect-src": [SELF],
        "font-src": [SELF],
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS_ONLY
SECURE_REDIRECT_EXEMPT = [r"^(healthz|readyz|metrics)$"]
SECURE_HSTS_SECONDS = 365 * DAY if HTTPS_ONLY else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS_ONLY
if TRUSTED_PROXIES:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

LANGUAGE_CODE = "en-gb"
FORMAT_MODULE_PATH = "orchestrator_project.formats"
TIME_ZONE = "UTC"
USE_TZ = True
DATA_UPLOAD_MAX_NUMBER_FIELDS = 2000  # A playbook as full as it may be is a form of some 800.
STATIC_URL = "static/"
WHITENOISE_USE_FINDERS = True  # Served out of the installed packages: no collectstatic step.
PARAMETERS = read.declared
SECRETS = tuple(
    part
    for parameter in read.declared.values()
    if parameter.secret and parameter.value
    for part in logs.secret_parts(parameter.value)
    if part
)
# By PGPASSWORD libpq knows the password of a DATABASE_URL that has none: so it is in the compose file.
LOGGING = logs.configuration(
    level=LOG_LEVEL, as_json=LOG_JSON, secrets=(*SECRETS, SECRET_KEY, os.environ.get("PGPASSWORD", ""))
)

# The admin's theme: what it asks for by name lives in orchestrator_project.admin.
UNFOLD = {
    "SITE_TITLE": "Orchestrator",
    "SITE_HEADER": "Orchestrator",
    "SITE_SUBHEADER": "All times are UTC",
    "SITE_SYMBOL": "candlestick_chart",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": "orchestrator_project.admin.favicon"}],
    "SITE_URL": None,
    "SHOW_VIEW_ON_SITE": False,
    "ENVIRONMENT": "orchestrator_project.admin.environment",
    "DASHBOARD_CALLBACK": "orchestrator_project.admin.index",
    "SIDEBAR": {"navigation": "orchestrator_project.admin.navigation"},
    "ACCOUNT": {"navigation": "orchestrator_project.admin.account_links"},
    "SCRIPTS": ["orchestrator_project.admin.theme_script"],
    "STYLES": ["orchestrator_project.admin.theme_style"],
}

"""The second factor: codes of an app (TOTP, RFC 6238) or recovery codes, each good for one sign-in.

An account has at most one device and ten recovery codes. A device counts once a code of it was entered. What is wrong
too often makes the device wait, longer each time.
"""

from base64 import b32encode
from urllib.parse import quote, urlencode

import segno
from django.contrib.auth.models import User
from django.db import transaction
from django_otp import verify_token
from django_otp.models import Device
from django_otp.oath import TOTP
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice
from django_otp.util import random_hex

ISSUER = "Orchestrator"
RECOVERY_CODES = 10
DIGITS = 6
STEP_SECONDS = 30


def new_key() -> str:
    """A key for a device, in hexadecimal digits: 160 bits, as RFC 4226 recommends."""
    return random_hex(20)


def enrolment_url(username: str, key: str) -> str:
    """What an app reads from the picture (Key URI format)."""
    label = quote(f"{ISSUER}:{username}")
    return f"otpauth://totp/{label}?{urlencode({'secret': typed_key(key), 'issuer': ISSUER})}"


def typed_key(key: str) -> str:
    """The key as people type it into an app that cannot take pictures."""
    return b32encode(bytes.fromhex(key)).decode()


def picture(url: str) -> str:
    """A QR code as the address of an image, dark on light whatever the page's colours are."""
    address: str = segno.make(url).svg_data_uri(scale=5, border=4, light="white", dark="black")
    return address


def has_device(user: User) -> bool:
    return TOTPDevice.objects.filter(user=user, confirmed=True).exists()


def confirm(user: User, key: str, code: str, *, now: float) -> TOTPDevice | None:
    """Make the device with this key the account's only one, if the code is the app's; else None. The code is used up
    by it."""
    generator = TOTP(bytes.fromhex(key), STEP_SECONDS, digits=DIGITS)
    generator.time = now
    if not code.isascii() or not code.isdigit() or not generator.verify(int(code), tolerance=1):
        return None
    with transaction.atomic():
        TOTPDevice.objects.filter(user=user).delete()
        return TOTPDevice.objects.create(
            user=user, name="app", key=key, confirmed=True, digits=DIGITS, step=STEP_SECONDS, last_t=generator.t()
        )


@transaction.atomic
def write_recovery_codes(user: User) -> list[str]:
    """New recovery codes; the ones before are void."""
    StaticDevice.objects.filter(user=user).delete()
    device = StaticDevice.objects.create(user=user, name="recovery codes", confirmed=True)
    codes = [StaticToken.random_token() for _ in range(RECOVERY_CODES)]
    StaticToken.objects.bulk_create(StaticToken(device=device, token=code) for code in codes)
    return codes


def recovery_codes_left(user: User) -> int:
    return StaticToken.objects.filter(device__user=user).count()


def verify(user: User, code: str) -> Device | None:
    """The device that takes the code, which is then used up; None when none does, or when it has to wait."""
    typed = code.replace(" ", "").lower()
    kind = TOTPDevice if typed.isdigit() and len(typed) == DIGITS else StaticDevice
    device = kind.objects.filter(user=user, confirmed=True).first()
    return None if device is None else verify_token(user, device.persistent_id, typed)


@transaction.atomic
def remove(user: User) -> bool:
    """Take device and recovery codes away. Returns whether there were any."""
    devices, _ = TOTPDevice.objects.filter(user=user).delete()
    codes, _ = StaticDevice.objects.filter(user=user).delete()
    return bool(devices or codes)

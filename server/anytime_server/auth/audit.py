"""The audit log: changes of API keys, and refused keys. It never contains secrets."""

from __future__ import annotations

import logging

audit = logging.getLogger("anytime.audit")

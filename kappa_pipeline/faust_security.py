"""Translates librdkafka's security options, which the run's configuration uses, for Faust."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

import faust

from signals.errors import ConfigurationError

_KNOWN = (
    *("security.protocol", "ssl.ca.location", "ssl.certificate.location", "ssl.key.location"),
    *("ssl.key.password", "sasl.mechanism", "sasl.mechanisms", "sasl.username", "sasl.password"),
)


def credentials(options: Mapping[str, str]) -> Any:
    """Faust's ``broker_credentials`` for librdkafka ``options``; None for a plaintext broker.

    Raises ConfigurationError for a security option that has no translation; other options tune librdkafka
    and mean nothing to Faust.
    """
    strange = [o for o in options if o.startswith(("ssl.", "sasl.", "security.")) and o not in _KNOWN]
    if strange:
        raise ConfigurationError(
            f"the Kafka options {', '.join(sorted(strange))} have no equivalent in Faust"
        )
    protocol = options.get("security.protocol", "plaintext").upper()
    context = _ssl_context(options) if protocol in ("SSL", "SASL_SSL") else None
    if protocol == "PLAINTEXT":
        return None
    if protocol == "SSL":
        return faust.SSLCredentials(context)
    if protocol not in ("SASL_SSL", "SASL_PLAINTEXT"):
        raise ConfigurationError(f"Kafka security.protocol {protocol!r} is not known")
    return faust.SASLCredentials(
        username=options.get("sasl.username"),
        password=options.get("sasl.password"),
        mechanism=options.get("sasl.mechanism", options.get("sasl.mechanisms", "PLAIN")),
        ssl_context=context,
    )


def _ssl_context(options: Mapping[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=options.get("ssl.ca.location"))
    if certificate := options.get("ssl.certificate.location"):
        context.load_cert_chain(
            certificate, options.get("ssl.key.location"), password=options.get("ssl.key.password")
        )
    return context

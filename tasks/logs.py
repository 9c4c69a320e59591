"""How a process of Backlot logs: where it starts, once; at the level of the settings, without what
libraries may not say.

httpx logs the whole URL of each request, and the libraries of HTTP and S3, asked for details, headers: keys
and signatures.
"""

import logging

FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
TALKATIVE = ("httpx", "httpcore", "boto3", "botocore", "s3transfer", "urllib3")


def start(level: str) -> None:
    """Log from now on, in this process, at `level`; those who talk of secrets, warnings at most."""
    logging.basicConfig(level=level, format=FORMAT, force=True)
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))

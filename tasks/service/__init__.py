"""The service: jobs as callers see them, put together of ledger, bucket and broker. It knows no HTTP."""

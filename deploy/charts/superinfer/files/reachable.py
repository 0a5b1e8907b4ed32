"""`helm test`: the operator is healthy by its Service, and takes no telemetry without a token."""

import ssl
import sys
import urllib.error
import urllib.request

host, scheme = sys.argv[1:]
# No secret is sent, so whoever answers need not prove who it is.
unchecked = ssl.create_default_context()
unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
print(urllib.request.urlopen(f"http://{host}:8080/healthz", timeout=10).read().decode())
try:
    telemetry = f"{scheme}://{host}:4318/v1/metrics"
    urllib.request.urlopen(telemetry, data=b"", timeout=10, context=unchecked)
except urllib.error.HTTPError as refused:
    sys.exit(0 if refused.code == 401 else f"telemetry without a token was answered {refused}")
sys.exit("telemetry without a token was taken")

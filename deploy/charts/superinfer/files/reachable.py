"""`helm test`: the operator is healthy by its Service, and takes no telemetry without a token."""

import sys
import urllib.error
import urllib.request

host = sys.argv[1]
print(urllib.request.urlopen(f"http://{host}:8080/healthz", timeout=10).read().decode())
try:
    urllib.request.urlopen(f"http://{host}:4318/v1/metrics", data=b"", timeout=10)
except urllib.error.HTTPError as refused:
    sys.exit(0 if refused.code == 401 else f"telemetry without a token was answered {refused}")
sys.exit("telemetry without a token was taken")

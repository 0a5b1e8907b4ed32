"""Grafana's dashboards as data, and the JSON made of them.

    PYTHONPATH=tools/monitoring python -m dashboards

`slo`, `rotation`, `budgets` and `fleet` say what is shown; `grid` knows Grafana.
"""

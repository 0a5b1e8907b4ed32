"""What RotaSched is compared with: others' policies behind its own interface, just as pure.

Each takes an `Iteration` and returns a `Decision`, so that all of them move KV by one mechanism and
differ in nothing but who holds HBM. All keep running requests' own growth free, without which vLLM
would throw KV away, whatever the policy.
"""

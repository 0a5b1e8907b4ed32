"""The CustomResourceDefinition of `SuperInferService`, made from the models that read it.

What the schema accepts, `superinfer_contract.service.ServiceSpec` accepts too: the API server
refuses a wrong service before the operator sees it. All of it is pure; tools/crd/generate.py writes
files.
"""

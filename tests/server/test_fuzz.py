"""Requests made from the service's own schema: whatever comes, no 5xx and the answers keep to the schema."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

pytestmark = pytest.mark.slow

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
OPERATIONS = {
    "/v1/predict": "POST",
    "/v1/occlusion": "POST",
    "/v1/labels": "POST",
    "/v1/model": "GET",
    "/healthz": "GET",
    "/readyz": "GET",
    "/metrics": "GET",
}


@pytest.fixture(scope="module")
def schema(service: str) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{service}/openapi.json")


def test_every_operation_is_fuzzed(schema: schemathesis.BaseSchema) -> None:
    found = {result.ok().path: result.ok().method for result in schema.get_all_operations()}
    assert {path: method.upper() for path, method in found.items()} == OPERATIONS


@pytest.mark.parametrize(
    ("path", "mode"),
    [(path, GenerationMode.POSITIVE) for path in OPERATIONS]
    + [(path, GenerationMode.NEGATIVE) for path, method in OPERATIONS.items() if method == "POST"],
)
def test_no_request_breaks_the_service(
    schema: schemathesis.BaseSchema, path: str, mode: GenerationMode
) -> None:
    examples = 60 if OPERATIONS[path] == "POST" else 5

    @settings(max_examples=examples, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=schema[path][OPERATIONS[path]].as_strategy(generation_mode=mode))
    def check(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=CHECKS)

    check()

"""`POST /api/v1/quote`: what the command answers, over HTTP, and nothing that stops it."""

import json
import tracemalloc
from decimal import Decimal
from http import HTTPStatus

import pytest
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from catalog.api import MAX_BYTES, quote
from catalog.quote import MAX_LENGTH, answer
from tests.builders import a_user
from tests.catalog.test_quote import CASES, EXAMPLE, RUBBISH

ADDRESS = "/api/v1/quote"
GOOD = json.dumps({**EXAMPLE, "scheme": "graduated", "quantity": "25"})


def post(body, content_type="application/json", **headers):
    return Client().post(ADDRESS, body, content_type=content_type, headers=headers)


def test_it_answers_the_documented_example_without_a_key():
    response = post(GOOD)
    assert response.status_code == HTTPStatus.OK
    assert response.headers["Content-Type"] == "application/json"
    assert response.json() == {
        "amount": "31",
        "rounded": "31.00",
        "steps": [
            {"from": "1", "to": "9", "quantity": "9", "unit_price": "2", "flat_fee": "0", "amount": "18"},
            {"from": "10", "to": "19", "quantity": "10", "unit_price": "1", "flat_fee": "0", "amount": "10"},
            {"from": "20", "to": "25", "quantity": "6", "unit_price": "0.5", "flat_fee": "0", "amount": "3"},
        ],
    }


def test_every_known_case_gets_the_very_text_that_the_command_answers():
    for case in CASES:
        line = json.dumps(case["input"])
        assert post(line).content.decode() == answer(line)


@pytest.mark.parametrize("body", RUBBISH.values(), ids=RUBBISH.keys())
def test_rubbish_gets_422_and_the_reason(body):
    response = post(body)
    assert response.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert response.json() == json.loads(answer(body))


@pytest.mark.parametrize("body", [b"\xff\xfe\x00", b"\x80", GOOD.encode("utf-16")])
def test_what_is_not_utf_8_gets_422(body):
    response = post(body)
    assert response.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert response.json() == {"error": "input: not UTF-8"}


@given(st.binary(max_size=200))
def test_any_bytes_get_an_answer(body):
    response = post(body)
    assert response.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert response.json().keys() == {"error"}


def test_an_error_names_its_field():
    assert (
        post('{"brackets": [{"unit_price": "-1"}], "quantity": "1"}')
        .json()["error"]
        .startswith("brackets[1].unit_price: ")
    )


def test_a_body_that_is_too_long_is_refused():
    assert post(" " * (MAX_LENGTH + 1)).status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    response = post(" " * (MAX_BYTES + 1))
    assert response.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    assert response.json() == {"error": "input: longer than 100,000 characters"}


def test_of_a_body_that_is_too_long_only_the_beginning_is_read(rf):
    class Endless:
        read_so_far = 0

        def read(self, size=-1):
            assert size >= 0, "all of it at once"
            self.read_so_far += size
            return b" " * size

    request = rf.post(ADDRESS, "", content_type="application/json")
    request._stream = endless = Endless()
    assert quote(request).status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    assert endless.read_so_far <= MAX_BYTES + 1


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/x-www-form-urlencoded", "x"])
def test_the_body_is_read_as_json_whatever_its_content_type_says(content_type):
    assert post(GOOD, content_type).json()["amount"] == "31"


def test_a_body_of_a_form_with_files_is_no_json():
    assert Client().post(ADDRESS, {"quantity": "1"}).status_code == HTTPStatus.UNPROCESSABLE_ENTITY


@pytest.mark.parametrize("method", ["get", "head", "put", "patch", "delete", "options", "trace"])
def test_only_post_is_answered(method):
    response = getattr(Client(), method)(ADDRESS)
    assert response.status_code == HTTPStatus.METHOD_NOT_ALLOWED
    assert response.headers["Allow"] == "POST"


@pytest.mark.django_db
def test_it_needs_no_token_of_a_form_and_is_stored_nowhere_for_a_user():
    client = Client(enforce_csrf_checks=True)
    client.force_login(a_user())
    response = client.post(ADDRESS, GOOD, content_type="application/json")
    assert response.status_code == HTTPStatus.OK
    assert "no-store" in response.headers["Cache-Control"]


def test_it_asks_no_database():
    """Without the mark of the others, a query would fail here."""
    assert post(GOOD).status_code == HTTPStatus.OK


def test_a_discount_comes_after_minimum_and_maximum():
    line = {"brackets": [{"unit_price": "1"}], "maximum": "50", "discount": "10", "quantity": "60"}
    said = post(json.dumps(line)).json()
    assert said["amount"] == "45"
    assert said["steps"][-1] == {
        "from": None,
        "to": None,
        "quantity": "50",
        "unit_price": "-0.1",
        "flat_fee": "0",
        "amount": "-5",
    }


# Its description


def described():
    response = Client().get("/api/v1/openapi.json")
    assert response.status_code == HTTPStatus.OK
    return response.json()


def test_the_description_has_request_and_responses_with_examples_that_are_answered():
    operation = described()["paths"]["/api/v1/quote"]["post"]
    body = operation["requestBody"]["content"]["application/json"]
    assert body["examples"]
    for example in body["examples"].values():
        assert post(json.dumps(example["value"])).status_code == HTTPStatus.OK
    assert operation["responses"].keys() == {"200", "413", "422"}
    assert "security" not in operation


def test_the_description_knows_every_key_and_its_default():
    schema = described()["paths"]["/api/v1/quote"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    known = json.loads(answer('{"?": 1}'))["error"].partition("known are ")[2].split(", ")
    assert sorted(schema["properties"]) == known
    defaults = {name: each["default"] for name, each in schema["properties"].items() if "default" in each}
    question = {"brackets": [{"unit_price": "2"}, {"start": "10", "unit_price": "1"}], "quantity": "25"}
    for scheme in ("volume", "graduated"):
        spare = {**question, "scheme": scheme}
        assert post(json.dumps({**defaults, **spare})).json() == post(json.dumps(spare)).json()


def test_the_description_knows_every_key_of_an_answer():
    schemas = described()["components"]["schemas"]
    said = post(GOOD).json()
    assert schemas["Charge"]["properties"].keys() == said.keys()
    assert schemas["Step"]["properties"].keys() == said["steps"][0].keys()
    assert schemas["Refusal"]["properties"].keys() == post("").json().keys()


def test_there_is_no_page_of_documentation_that_loads_from_elsewhere():
    assert Client().get("/api/v1/docs").status_code == HTTPStatus.NOT_FOUND


# Nothing costs more than its length


def test_a_body_of_the_greatest_length_is_answered_in_memory_of_its_own_measure():
    brackets = ",".join(f'{{"start":"{number}"}}' for number in range(5800))
    bodies = [
        f'{{"scheme":"graduated","notation":"above","quantity":"999999","brackets":[{brackets}]}}',
        "{" + ",".join(f'"{number}":1' for number in range(9000)) + ',"8999":1}',
    ]
    for body in bodies:
        assert len(body) <= MAX_LENGTH
        tracemalloc.start()
        answer(body)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 50 * 2**20


def test_numbers_of_json_keep_their_digits():
    body = '{"quantity": 900719925474099, "brackets": [{"unit_price": 0.1}]}'
    assert Decimal(post(body).json()["amount"]) == Decimal("90071992547409.9")

"""Lines that are pushed and imported: what is understood, exactly, and what is refused, line by line."""

import contextlib
import json
from decimal import Decimal
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.formats import Fault, Format, Line, Mode, TooMany, Unreadable, guess, read


def lines(body, form=Format.NDJSON, most=100):
    return list(read(BytesIO(body if isinstance(body, bytes) else body.encode()), Format(form), most))


def one(body, form=Format.NDJSON):
    (line,) = lines(body, form)
    return line


def reason(body, form=Format.NDJSON):
    found = one(body, form)
    assert isinstance(found, Fault), found
    return found.reason


def line(**values):
    return json.dumps({"tenant": "alice", "metric": "disk", "value": "1", **values})


@pytest.mark.parametrize("text", ["9007199254740993", "0.1", "999999999999999999", "0.000000000000000001", "12.50"])
def test_a_number_is_exact_as_text_and_as_a_number(text):
    assert one(line(value=text)).value == Decimal(text)
    assert one(f'{{"tenant":"a","metric":"m","value":{text}}}').value == Decimal(text)
    assert one(f"tenant,metric,value\na,m,{text}\n", "csv").value == Decimal(text)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "true", "null", "[]", "{}", '""', '"1e5"', '" 5 "'])
def test_what_is_no_number_is_refused(value):
    assert "value" in (why := reason(f'{{"tenant":"a","metric":"m","value":{value}}}')) or "plain decimal" in why


@pytest.mark.parametrize("value", ["1,5", "1.234.567", "1_000", "１２", "٣", "0x10", "-1", "+1", "1e999", "9" * 5000])
def test_other_spellings_of_numbers_are_refused_in_every_format(value):
    assert isinstance(one(line(value=value)), Fault)
    assert isinstance(one(f"tenant;metric;value\na;m;{value}\n", "csv"), Fault)


def test_a_number_of_thousands_of_digits_is_refused_and_breaks_nothing():
    found = lines(f'[{line()},{{"tenant":"a","metric":"m","value":{"9" * 5000}}}]', "json")
    assert [type(each) for each in found] == [Line, Fault]


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ("[1]", "not an object"),
        ("{", "not JSON"),
        ('{"tenant":"a","tenant":"b","metric":"m","value":1}', "'tenant' twice"),
        ("[" * 100_000, "nested too deeply"),
        (line(vlaue="1"), "no field 'vlaue'"),
        (line(number=1), "no field 'number'"),
        ('{"metric":"m"}', "tenant, value is missing"),
        (line(tenant=5), "tenant must be text"),
        (line(metric=""), "metric must be text"),
        (line(id=""), "id must be text"),
        (line(id="x" * 256), "at most 255"),
        (line(id="a\x00b"), "id must be text"),
        (line(mode="sum"), "mode must be set or add"),
        (line(unit=5), "unit must be text"),
        (line(time="2026-11-20T10:00:00"), "with its zone"),
        (line(time="2026-11-20"), "with its zone"),
        (line(time="2026-02-30T10:00:00Z"), "with its zone"),
        (line(time=1795168800), "with its zone"),
        (line(period="2026-13"), "a month such as"),
        (line(period="2026-W47"), "a month such as"),
        (line(period="9999-12"), "a month such as"),
        (line(period="2026-11", time="2026-11-20T10:00:00Z"), "leave out one"),
    ],
)
def test_each_mistake_says_what_is_wrong(body, word):
    assert word in reason(body)


def test_a_line_that_is_not_utf_8_is_refused_alone():
    found = lines(b'{"tenant":"\xff"}\n' + line().encode())
    assert [each.number for each in found] == [1, 2]
    assert isinstance(found[0], Fault)
    assert isinstance(found[1], Line)
    found = lines(b"tenant,metric,value\n\xff,m,1\nb,m,2\n", "csv")
    assert [each.tenant.isprintable() for each in found] == [False, True]


def test_lines_are_numbered_as_an_editor_does():
    assert [each.number for each in lines(f"\n{line()}\n\n{line()}")] == [2, 4]
    rows = 'tenant,metric,value\n\n"a\nb",m,1\nc,m\nd,m,1\n'
    assert [each.number for each in lines(rows, "csv")] == [3, 5, 6]


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("delimiter", [",", ";"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_as_spreadsheets_write_it(bom, delimiter, end):
    rows = [["Tenant", " METRIC", "value", "unit", "id"], ["alice", "disk", "5", "GB", ""]]
    found = one(bom + end.join(delimiter.join(row) for row in rows).encode(), "csv")
    assert found[1:6] == ("", "alice", "disk", Decimal(5), "GB")


def test_a_thousands_separator_that_makes_a_cell_more_is_named():
    assert "has 4 cells, and the header 3" in reason("tenant,metric,value\na,m,1,234\n", "csv")


@pytest.mark.parametrize(
    ("header", "word"),
    [
        ("alice,disk,5", "must name the columns"),
        ("tenant,metric,value,size", "no field 'size'"),
        ("tenant,metric,value,value", "twice"),
        ("x" * 200_000, "not CSV"),
    ],
)
def test_csv_needs_a_header_that_is_understood(header, word):
    with pytest.raises(Unreadable, match=word):
        lines(f"{header}\nalice,disk,5\n", "csv")


def test_an_open_quote_is_refused_and_says_where_it_began():
    found = one('tenant,metric,value\n"a,m,1\nb,m,2\n', "csv")
    assert (type(found), found.number) == (Fault, 2)


@pytest.mark.parametrize(
    ("form", "body", "word"),
    [
        ("json", "{", "Send NDJSON"),
        ("json", '"text"', "neither an object"),
        ("json", "[" * 100_000, "nested too deeply"),
        ("json", b"\xff", "not UTF-8"),
        ("json", "[]", "no line"),
        ("ndjson", " \n\n", "no line"),
        ("csv", "", "no line"),
        ("csv", "tenant,metric,value\n", "no line"),
    ],
)
def test_what_cannot_be_read_at_all_says_why(form, body, word):
    with pytest.raises(Unreadable, match=word):
        lines(body, form)


def test_more_lines_than_allowed_are_refused():
    with pytest.raises(TooMany, match="more than 2 lines"):
        lines("\n".join([line()] * 3), most=2)


EVENT = {"specversion": "1.0", "id": "7", "source": "/web1", "type": "bandwidth", "subject": "alice"}


def event(**values):
    return json.dumps({**EVENT, "data": {"value": "5"}, **values})


def test_an_event_names_the_metric_by_its_type_and_the_tenant_by_its_subject():
    found = one(event(time="2026-11-20T10:00:00+01:00", data={"value": 5, "unit": "MB", "path": "/"}), "cloudevents")
    assert found[1:6] == ("/web1 7", "alice", "bandwidth", Decimal(5), "MB")
    assert found.time.isoformat() == "2026-11-20T10:00:00+01:00"
    assert found.mode is Mode.EVENT
    assert one(event(data={"value": 5, "mode": "set"}), "cloudevents").mode is Mode.SET
    assert one(event()).tenant == "alice"


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"specversion": "0.3"}, "not 1.0"),
        ({"subject": None}, "text as its subject"),
        ({"source": "a b"}, "has spaces"),
        ({"source": "a\tb"}, "has spaces"),
        ({"source": "a\x00b"}, "broken text"),
        ({"source": "a\ud800b"}, "broken text"),
        ({"source": "\u202eb"}, "broken text"),
        ({"data": "5"}, "data that is an object"),
        ({"data": {}}, "value is missing"),
    ],
)
def test_an_event_without_what_is_needed_is_refused(values, word):
    assert word in reason(event(**values), "cloudevents")


def test_what_is_no_event_is_refused_among_events():
    assert "no CloudEvent" in reason(line(), "cloudevents")


@pytest.mark.parametrize(
    ("name", "head", "form"),
    [
        ("usage.CSV", b"", "csv"),
        ("usage.json", b"", "json"),
        ("usage.jsonl", b"", "ndjson"),
        ("usage", b"\xef\xbb\xbf [", "json"),
        ("usage.txt", b'{"tenant"', "ndjson"),
        ("usage.txt", b"tenant;", "csv"),
    ],
)
def test_a_file_says_its_format_by_its_name_or_its_beginning(name, head, form):
    assert guess(name, head) == form


@given(st.sampled_from(list(Format)), st.one_of(st.binary(), st.text().map(str.encode)))
def test_rubbish_is_refused_and_raises_nothing_else(form, body):
    with contextlib.suppress(Unreadable):
        lines(body, form)


ANY = st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists, max_leaves=5)


@given(st.dictionaries(st.sampled_from([*EVENT, "id", "tenant", "metric", "value", "time", "period", "data"]), ANY))
def test_any_object_is_a_line_or_a_fault(values):
    assert isinstance(one(json.dumps(values)), Line | Fault)

"""A statement that is written and planned once finds what the queryset would, whatever it is asked with."""

from datetime import UTC, date, datetime, timedelta
from threading import Thread

import pytest
from django.contrib.sessions.models import Session
from django.db import DataError, OperationalError, ProgrammingError, connection, connections, transaction
from django.db.models import DateField, ExpressionWrapper, Model
from django.db.models.functions import Length
from django.db.models.signals import post_init, pre_init

from catalog.models import Client, ClientUser, Service, User
from metering import partitions
from metering.models import Usage
from metering.prepared import FEW, Prepared, Question, any_of, execute, together
from tests.builders import a_client, a_metric, a_product, a_server, a_service, a_tenant

pytestmark = pytest.mark.django_db

SERVICES = Prepared(
    lambda clients, name: Service.objects.filter(client__in=any_of(clients), name=name).select_related("client")
)


def planned():
    """What this connection has a plan of: by the beginning of the statement, how often the plan was kept, and not."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement, generic_plans, custom_plans FROM pg_prepared_statements")
        return {statement: plans for statement, *plans in cursor.fetchall()}


def test_it_finds_what_the_queryset_finds(django_assert_num_queries):
    one, other = a_client("One"), a_client("Other")
    product = a_product()
    mine = a_service(product, one, name="a.example")
    theirs = a_service(product, other, name="a.example")
    a_service(product, one, name="b.example")
    with django_assert_num_queries(1):
        assert SERVICES.all([one.pk], "a.example") == [mine]
    with django_assert_num_queries(1):
        assert [service.client.name for service in SERVICES.all([one.pk, other.pk], "a.example")] == ["One", "Other"]
    assert SERVICES.first([other.pk], "a.example") == theirs
    assert SERVICES.first([], "a.example") is None
    assert SERVICES.first([one.pk], None) is None


def test_what_it_left_out_is_read_when_it_is_looked_at(django_assert_num_queries):
    a_service(a_product("Web"), name="a.example")
    few = Prepared(lambda name: Service.objects.filter(name=name).only("name"))
    service = few.first("a.example")
    with django_assert_num_queries(2):
        assert service.product.name == "Web"


def test_what_is_annotated_comes_with_it():
    a_service(a_product(), name="a.example")
    longer = Prepared(
        lambda name, day: Service.objects.filter(name=name).annotate(
            length=Length("name"), today=ExpressionWrapper(day, DateField())
        )
    )
    service = longer.first("a.example", date(2026, 11, 5))
    assert (service.length, service.today) == (9, date(2026, 11, 5))


def state_of(one):
    """All that an instance knows, with what came with it."""
    state, fetched = one._state, one._state.fields_cache
    known = {name: value for name, value in vars(one).items() if name != "_state"}
    related = {name: state_of(other) if other is not None else None for name, other in fetched.items()}
    return known, one.get_deferred_fields(), state.adding, state.db, related


@pytest.mark.parametrize("tenant", ["bob", None])
@pytest.mark.parametrize("left_out", [(), ("cycle", "client__name", "tenant__server__settings")])
def test_instances_are_as_django_makes_them(tenant, left_out):
    one = a_service(a_product(), tenant=tenant and a_tenant(a_server(), tenant))

    def build(pk):
        rows = Service.objects.filter(pk=pk).select_related("client", "product", "tenant__server")
        return rows.defer(*left_out) if left_out else rows

    found, known = Prepared(build).first(one.pk), build(one.pk).get()
    assert state_of(found) == state_of(known)
    assert bool(found.get_deferred_fields()) == bool(left_out)
    found.name = "changed.example"
    found.save()
    assert Service.objects.get(pk=one.pk).name == "changed.example"


@pytest.mark.parametrize("signal", [pre_init, post_init])
def test_who_listens_to_instances_is_told_of_them(signal):
    a_service(a_product("Web"), a_client("One"), name="a.example")
    told = []

    def listen(sender, **_given):
        told.append(sender)

    signal.connect(listen, sender=Client)
    try:
        listened_to = Prepared(lambda name: Service.objects.filter(name=name).select_related("client"))
        assert listened_to.first("a.example").client.name == "One"
    finally:
        signal.disconnect(listen, sender=Client)
    assert told == [Client]


def test_a_model_that_makes_its_instances_in_a_way_of_its_own_does(monkeypatch):
    a_service(a_product("Web"), a_client("One"), name="a.example")

    def from_db(cls, using, names, values):
        made = Model.from_db.__func__(cls, using, names, values)
        made.name = made.name.upper()
        return made

    monkeypatch.setattr(Client, "from_db", classmethod(from_db))
    loud = Prepared(lambda name: Service.objects.filter(name=name).select_related("client"))
    assert loud.first("a.example").client.name == "ONE"


def test_instants_are_as_django_reads_them():
    ends = datetime(2026, 11, 5, 12, tzinfo=UTC)
    Session.objects.create(session_key="k" * 32, session_data="", expire_date=ends)
    later = Prepared(lambda at: Session.objects.filter(expire_date__gt=at))
    assert later.first(ends - timedelta(seconds=1)).expire_date == Session.objects.get().expire_date == ends
    assert later.first(ends) is None


def test_instants_of_plain_statements_are_in_utc():
    (read,) = execute("SELECT %s::timestamptz, NULL::timestamptz", ["2026-07-05 12:00+02"])
    assert read == (datetime(2026, 7, 5, 10, tzinfo=UTC), None)
    assert read[0].utcoffset() == timedelta(0)


def test_lists_arrive_as_they_are():
    ids, days, names = [1, -2, 2**40], [date(2026, 11, 5), date(2024, 2, 29)], ["a,b", '{"', "NULL", ""]
    statement = "SELECT %s::bigint[], %s::date[], %s::text[], %s::bigint[]"
    assert execute(statement, [ids, days, names, []]) == [(ids, days, names, [])]
    assert execute("SELECT %(ids)s::bigint[] AS named", {"ids": ids}) == [(ids,)]


@pytest.mark.parametrize("ids", [[], [1], [2**40], [1, 2**40], [-5, 1, 1]])
@pytest.mark.parametrize("names", [[], ["a,b"], ["{"], ["a,b", "NULL"]])
def test_what_is_looked_for_in_a_list_is_found_however_long_it_is(ids, names):
    known = "(VALUES (1::bigint, 'a,b'), (2^40::bigint, '{'), (-5, 'NULL')) known (id, name)"
    statement = f"SELECT id, name FROM {known} WHERE id = ANY(%(ids)s) OR name = ANY(%(names)s) ORDER BY id"
    rows = [(-5, "NULL"), (1, "a,b"), (2**40, "{")]
    assert execute(statement, {"ids": ids, "names": names}) == [row for row in rows if row[0] in ids or row[1] in names]


def test_one_alone_is_compared_and_no_list_is_made_of_it():
    statement = "SELECT 5 = ANY(%(ids)s) AND %(day)s::date = ANY(%(days)s) AS compared"
    for number in (5, 70_000, 5):
        said = {"ids": [number], "days": [date(2026, 11, 5)], "day": date(2026, 11, 5)}
        assert execute(statement, said) == [(number == 5,)]
    assert execute(statement, {**said, "ids": [5, 6]}) == [(True,)]
    assert {statement for statement in planned() if "compared" in statement} == {
        "SELECT 5 = $1 AND $2::date = $3 AS compared",
        "SELECT 5 = ANY($1) AND $2::date = $3 AS compared",
    }


def test_a_list_that_is_more_than_looked_in_stays_one():
    statement = "SELECT 5 = ANY(%(ids)s), cardinality(%(ids)s::int[])"
    assert execute(statement, {"ids": [5]}) == [(True, 1)]


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_was_closed_is_opened_anew():
    before = execute("SELECT pg_backend_pid()")
    connection.close()
    assert execute("SELECT pg_backend_pid()") != before


def test_its_statement_is_written_once():
    written = []

    def build(name):
        written.append(name)
        return Service.objects.filter(name=name)

    names = Prepared(build)
    for name in ("a", "b", "c"):
        names.all(name)
    assert len(written) == 1


def test_it_is_planned_once_however_often_it_is_asked():
    statement = "SELECT %s::int + 1 AS planned_once"
    assert [execute(statement, [number]) for number in range(12)] == [[(number + 1,)] for number in range(12)]
    assert planned()["SELECT $1::int + 1 AS planned_once"] == [12, 0]


def test_a_plan_that_is_kept_finds_the_months_that_come_later():
    tenant, metric = a_tenant(a_server()), a_metric()
    asked = [tenant.pk, date(2031, 1, 1)]
    statement = "SELECT value FROM metering_usage WHERE tenant_id = %s AND start >= %s"
    assert [execute(statement, asked) for _ in range(3)] == [[], [], []]
    partitions.ensure([date(2031, 5, 1)])
    day = {"start": date(2031, 5, 2), "end": date(2031, 5, 3)}
    Usage.objects.create(tenant_id=tenant.pk, metric_id=metric.pk, value=7, **day)
    assert execute(statement, asked) == [(7,)]


def test_what_is_asked_about_many_is_planned_for_them():
    rows = execute("SELECT unnest(%s::int[]) AS of_many", [list(range(FEW + 1))], about=FEW + 1)
    assert len(rows) == FEW + 1
    assert not [statement for statement in planned() if "of_many" in statement]


def test_nothing_else_is_planned_once():
    User.objects.filter(email="before@example.test").exists()
    execute("SELECT 1 AS only_this")
    for _ in range(10):
        User.objects.filter(email="after@example.test").exists()
    assert not [statement for statement in planned() if "example.test" in statement]
    assert connection.connection.prepare_threshold is None


@pytest.mark.django_db(transaction=True)
def test_a_statement_that_fails_says_so_and_the_next_one_works():
    with pytest.raises(ProgrammingError, match="nowhere"):
        execute("SELECT * FROM nowhere")
    assert connection.connection.prepare_threshold is None
    assert execute("SELECT 1") == [(1,)]


@pytest.mark.django_db(transaction=True)
def test_each_thread_asks_by_its_own_connection():
    client = a_client()
    user = User.objects.create(email="owner@example.test")
    ClientUser.objects.create(client=client, user=user)
    users = Prepared(lambda user: ClientUser.objects.filter(user=user))
    found = [users.all(user.pk)]

    def ask():
        try:
            found.append(users.all(user.pk))
        finally:
            connection.close()

    other = Thread(target=ask)
    other.start()
    other.join()
    assert found[0] == found[1] != []


def test_a_connection_that_goes_to_another_thread_is_asked_there():
    found = [execute("SELECT %s::int", [1])]
    connection.inc_thread_sharing()

    def ask():
        connections["default"] = shared
        found.append(execute("SELECT %s::int", [1]))

    shared = connections["default"]
    other = Thread(target=ask)
    other.start()
    other.join()
    connection.dec_thread_sharing()
    assert found == [[(1,)]] * 2


def test_a_log_of_queries_has_them_with_their_values(django_assert_num_queries):
    with django_assert_num_queries(2) as counted:
        execute("SELECT %s::text", ["first"])
        execute("SELECT %s::text", ["second"])
    assert [query["sql"] for query in counted.captured_queries] == ["SELECT 'first'::text", "SELECT 'second'::text"]


def asking(number, about=1):
    return Question("SELECT %s::int + 1 AS ahead, clock_timestamp()", [number], about)


def now():
    return execute("SELECT clock_timestamp()")[0][0]


def test_what_is_asked_together_is_answered_before_it_is_asked_for():
    with together(asking(1), asking(2)):
        before = now()
        ((second, second_at),), ((first, first_at),) = execute(*asking(2)), execute(*asking(1))
    assert (first, second) == (2, 3)
    assert first_at < second_at < before


def test_an_answer_is_given_once_and_not_after_it():
    with together(asking(1), asking(2)):
        asked = now()
        assert execute(*asking(1))[0][1] < asked < execute(*asking(1))[0][1]
    assert execute(*asking(2))[0][1] > asked


def test_what_is_asked_otherwise_meanwhile_is_asked_then():
    with together(asking(1)):
        assert execute(*asking(7))[0][0] == 8
        assert User.objects.count() == 0
        assert execute(*asking(1))[0][0] == 2


def test_what_is_about_many_is_not_asked_ahead():
    with together(asking(1), asking(2, about=FEW + 1)):
        asked = now()
        assert execute(*asking(1))[0][1] < asked < execute(*asking(2, about=FEW + 1))[0][1]


def test_questions_of_a_log_are_asked_one_by_one(django_assert_num_queries):
    with django_assert_num_queries(2), together(asking(1), asking(2)):
        assert [execute(*asking(number))[0][0] for number in (1, 2)] == [2, 3]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("place", [0, 1])
def test_one_of_several_that_fails_says_so_and_the_next_ones_work(place):
    asked = [asking(1), asking(2)]
    asked.insert(place, Question("SELECT 1 / %s::int", [0]))
    with pytest.raises(DataError, match="division by zero"), together(*asked):
        raise AssertionError("it goes on")
    with together(*asked[1 - place :][:1]):
        pass
    assert execute(*asking(3))[0][0] == 4


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_connection_that_is_lost_meanwhile_says_so_and_is_opened_anew(place):
    asked = [asking(1), asking(2)]
    asked.insert(place, Question("SELECT pg_terminate_backend(pg_backend_pid()), %s::int", [0]))
    with pytest.raises(OperationalError), together(*asked):
        raise AssertionError("it goes on")
    connection.close_if_unusable_or_obsolete()
    with together(asking(1), asking(2)):
        assert [execute(*asking(number))[0][0] for number in (1, 2)] == [2, 3]


@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_begins_with_it_is_one():
    execute("SELECT 1")
    with transaction.atomic():
        execute("SELECT set_config('tallyport.test', %s, true)", ["inside"])
        assert execute("SELECT current_setting('tallyport.test')") == [("inside",)]
    assert execute("SELECT current_setting('tallyport.test')") == [("",)]


def test_a_percent_sign_is_one():
    assert execute("SELECT 7 %% %s::int, 'a%%'", [4]) == [(3, "a%")]

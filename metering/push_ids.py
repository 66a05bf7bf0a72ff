"""The ids of lines that are sent: a line counts once, however often it is sent with its id."""

from collections.abc import Collection as Several
from collections.abc import Iterable, Sequence
from datetime import timedelta

from django.db import connection

from metering.models import Collection, Pushed
from metering.push_lines import ADD_BACK, Item, Key, Refused, Status

#: Ids are kept for longer than a line may add to a period and a month together, so that none that names its period
#: is added again.
KEPT = ADD_BACK + timedelta(days=35)


class Ids:
    """The ids of a batch's lines, written down where they are new, and what became of the first line of each."""

    def __init__(self, record: Collection, items: Sequence[Item], corrected: Several[Key]) -> None:
        """Write down the ids that are new, and look up those that are not. Lines about what staff corrected have none:
        they are refused, unless they were stored before that."""
        self.record = record
        self._new: dict[str, bytes] = {}
        self._old: dict[str, bytes] = {}
        self._became: dict[str, Refused | None] = {}
        with_id = [item for item in items if item.line.id]
        digests: dict[str, bytes] = {}
        for item in with_id:
            if item.key not in corrected:
                digests.setdefault(item.line.id, item.digest)
        if digests:
            self._claim(digests)
        if others := [item.line.id for item in with_id if item.line.id not in self._new]:
            self._look_up(others)

    def _claim(self, digests: dict[str, bytes]) -> None:
        server, at, hexadecimal = self.record.server_id, self.record.as_of, (each.hex() for each in digests.values())
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO metering_pushed (server_id, key, digest, pushed_at)"
                " SELECT %s, key, decode(digest, 'hex'), %s"
                " FROM unnest(string_to_array(%s, E'\\x1f'), string_to_array(%s, E'\\x1f')) new (key, digest)"
                " ON CONFLICT DO NOTHING RETURNING key",
                [server, at, joined(digests), joined(hexadecimal)],
            )
            self._new = {key: digests[key] for (key,) in cursor.fetchall()}

    def _look_up(self, ids: Sequence[str]) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT key, digest FROM metering_pushed"
                " WHERE server_id = %s AND key = ANY(string_to_array(%s, E'\\x1f'))",
                [self.record.server_id, joined(ids)],
            )
            self._old = {key: bytes(digest) for key, digest in cursor.fetchall()}

    def has_counted(self, item: Item) -> bool:
        """Whether a line counted before, under its id. Raises Refused when that was another line, and when this
        very line was refused."""
        id = item.line.id
        if id in self._old:
            _compare(item, self._old[id])
            return True
        if id not in self._became:
            return False
        _compare(item, self._new[id])
        if why := self._became[id]:
            raise why
        return True

    def count(self, item: Item) -> None:
        """Remember that a line counts now."""
        if item.line.id:
            self._became[item.line.id] = None

    def refuse(self, item: Item, why: Refused) -> None:
        """Remember that a line was refused."""
        if self._new.get(item.line.id) == item.digest:
            self._became[item.line.id] = why

    def release(self) -> None:
        """Forget the ids of lines that came to nothing, so that they can be sent again."""
        if unused := [id for id, why in self._became.items() if why]:
            Pushed.objects.filter(server_id=self.record.server_id, key__in=unused).delete()


def _compare(item: Item, digest: bytes) -> None:
    if digest != item.digest:
        raise Refused(Status.CONFLICT, "another line was sent with this id; a changed one needs a new id")


def joined(values: Iterable[object]) -> str:
    """Return a list of texts as one parameter for `string_to_array`, since one for each of them takes its time.

    What separates them is in no name that was let in."""
    return "\x1f".join(map(str, values))

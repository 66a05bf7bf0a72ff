"""Stand-ins for WHM and DirectAdmin, over HTTP on this machine. Shapes follow the public documentation of each
product; message texts, accounts and numbers are our own. They are no real panels.

Tenants: alice (ordinary), bob (suspended, uses nothing), carol (unlimited and very large, a reseller who owns
alice); dave was deleted during the month and is in WHM's bandwidth only.
"""

import base64
import json
import re
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MIB = 2**20
WHM_TOKEN, LOGIN_KEY = "TESTTOKEN", "L0gin/K@y%"

TENANTS: dict[str, dict[str, Any]] = {
    "alice": {
        "owner": "carol",
        "suspended": 0,
        "disk_mib": 14,
        "disk_limit_mib": 500,
        "traffic": 1263225675,
        "traffic_limit": 10 * 2**30,
        "mailboxes": 7,
        "databases": 2,
        "domains": {"addon": 3, "parked": 1, "sub": 2},
    },
    "bob": {
        "owner": "root",
        "suspended": 1,
        "disk_mib": 0,
        "disk_limit_mib": 1000,
        "traffic": 0,
        "traffic_limit": 5 * MIB,
        "mailboxes": 0,
        "databases": 0,
        "domains": {},
    },
    "carol": {
        "owner": "carol",
        "suspended": 0,
        "disk_mib": 2100345,
        "disk_limit_mib": None,
        "traffic": 9007199254740993,  # 2**53 + 1: a float would lose a byte
        "traffic_limit": 0,
        "mailboxes": 1200,
        "databases": 40,
        "domains": {"addon": 55},
    },
}

#: A body to answer with instead, the name of a fault, or what makes a body out of the right one.
Fault = str | bytes | Callable[[Any], Any]
LOGIN_PAGE = b"<!DOCTYPE html>\n<html><head><title>Login</title></head><body></body></html>"


class Panel:
    """What both panels have: tenants, faults by function, and the calls so far."""

    def __init__(self) -> None:
        self.url = ""
        self.tenants = deepcopy(TENANTS)
        self.faults: dict[str, Fault] = {}
        self.calls: list[tuple[str, list[tuple[str, str]]]] = []

    def answer(self, function: str, query: list[tuple[str, str]], authorization: str) -> tuple[int, Any]:
        """Return the status and the body: bytes as they are, anything else as JSON."""
        raise NotImplementedError

    def asked(self) -> list[str]:
        return [function for function, _ in self.calls]


class WHM(Panel):
    """WHM API 1: listaccts, showbw, get_disk_usage, get_domain_info, list_databases, list_pops_for, batch, version.

    `months` has the bandwidth of months that are over; `reseller` is whose token is asked with.
    """

    def __init__(self) -> None:
        super().__init__()
        self.months: dict[tuple[int, int], dict[str, int]] = {}
        self.reseller = "root"
        self.now = (2026, 11)

    def answer(self, function: str, query: list[tuple[str, str]], authorization: str) -> tuple[int, Any]:
        if authorization != f"whm {self.reseller}:{WHM_TOKEN}":
            denied = {"reason": "Access denied", "result": "0"}
            error = {"apiversion": "2", "error": "Access denied", "data": denied, "type": "text"}
            return 403, {"cpanelresult": error}
        if function != "batch":
            return 200, self.call(function, dict(query))
        results = []
        for name, command in query:
            if name == "command":
                inner, _, arguments = command.partition("?")
                results.append(self.call(inner, dict(urllib.parse.parse_qsl(arguments))))
        failed = [result["metadata"]["reason"] for result in results if not result["metadata"]["result"]]
        return 200, {"data": {"result": results}, "metadata": a_result("batch", *failed)}

    def call(self, function: str, query: dict[str, str]) -> Any:
        method = getattr(self, f"whm_{function}", None)
        if method is None:
            return {"data": {}, "metadata": a_result(function, f"Unknown function: {function}")}
        return method(query)

    def seen(self) -> dict[str, dict[str, Any]]:
        """Return the accounts that the token may see."""
        return {name: of for name, of in self.tenants.items() if self.reseller in ("root", of["owner"])}

    def whm_version(self, query: dict[str, str]) -> Any:
        return {"data": {"version": "11.138.0.6"}, "metadata": a_result("version")}

    def whm_listaccts(self, query: dict[str, str]) -> Any:
        rows = []
        for name, of in self.seen().items():
            searched = of["owner"] if query.get("searchtype") == "owner" else name
            if query.get("search") not in (None, searched):
                continue
            row = {"user": name, "domain": f"{name}.example", "owner": of["owner"], "suspended": of["suspended"]}
            row |= {"diskused": f"{of['disk_mib']}M", "maxpop": "100", "maxsql": "unlimited", "maxsub": 5}
            row |= {"maxaddons": "unlimited", "maxparked": "0"}
            wanted = query.get("want", ",".join(row)).split(",")
            rows.append({key: value for key, value in row.items() if key in wanted})
        return {"data": {"acct": rows}, "metadata": a_result("listaccts")}

    def whm_showbw(self, query: dict[str, str]) -> Any:
        year, month = int(query["year"]), int(query["month"])
        traffic = {name: of["traffic"] for name, of in self.tenants.items()} | {"dave": 777}
        if (year, month) != self.now:
            traffic = self.months.get((year, month), {})
        rows = []
        for name, used in traffic.items():
            of = self.tenants.get(name, {"owner": "root", "traffic_limit": 0})
            # The search of WHM is a pattern that is looked for anywhere in the name.
            found = query.get("searchtype") != "user" or re.search(query.get("search", ""), name)
            if self.reseller in ("root", of["owner"]) and found:
                row = {"user": name, "maindomain": f"{name}.example", "owner": of["owner"], "reseller": 0}
                row |= {"deleted": int(name not in self.tenants), "limit": of["traffic_limit"], "totalbytes": used}
                rows.append({**row, "bwusage": [{"domain": f"{name}.example", "deleted": 0, "usage": used}]})
        data = {"acct": rows, "month": month, "year": year, "reseller": self.reseller}
        return {"data": data, "metadata": a_result("showbw")}

    def whm_get_disk_usage(self, query: dict[str, str]) -> Any:
        rows = [
            {
                "user": name,
                "blocks_used": of["disk_mib"] * 1024,
                "blocks_limit": None if of["disk_limit_mib"] is None else of["disk_limit_mib"] * 1024,
                "inodes_used": 340,
                "inodes_limit": None,
            }
            for name, of in self.seen().items()
        ]
        return {"data": {"accounts": chosen(rows, query)}, "metadata": a_result("get_disk_usage")}

    def whm_get_domain_info(self, query: dict[str, str]) -> Any:
        rows = []
        for name, of in self.seen().items():
            for kind, count in {"main": 1, **of["domains"]}.items():
                for number in range(count):
                    row = {"user": name, "domain": f"{kind}{number}.{name}.test", "domain_type": kind}
                    rows.append({**row, "parent_domain": f"{name}.example", "user_owner": of["owner"]})
        return {"data": {"domains": chosen(rows, query)}, "metadata": a_result("get_domain_info")}

    def whm_list_databases(self, query: dict[str, str]) -> Any:
        rows = [
            {"cpuser": name, "engine": "mysql", "name": f"{name}_db{number}"}
            for name, of in self.seen().items()
            for number in range(of["databases"])
        ]
        rows += [{"cpuser": name, "engine": "postgresql", "name": f"{name}_pg"} for name in self.seen()]
        return {"data": {"payload": chosen(rows, query)}, "metadata": a_result("list_databases")}

    def whm_list_pops_for(self, query: dict[str, str]) -> Any:
        name = query.get("user", "")
        of = self.tenants.get(name)
        if of is None or self.reseller not in ("root", of["owner"]):
            return {"data": {}, "metadata": a_result("list_pops_for", f"No such user: {name}")}
        pops = [f"u{number}@{name}.example" for number in range(of["mailboxes"])]
        return {"data": {"pops": pops}, "metadata": a_result("list_pops_for")}


def a_result(command: str, *reasons: str) -> dict[str, Any]:
    return {"command": command, "reason": (*reasons, "OK")[0], "result": int(not reasons), "version": 1}


def chosen(rows: list[dict[str, Any]], query: dict[str, str]) -> list[dict[str, Any]]:
    """Do what api.filter and api.columns ask for."""
    if query.get("api.filter.enable") == "1":
        name, value = query["api.filter.a.field"], query["api.filter.a.arg0"]
        assert query["api.filter.a.type"] == "eq"
        rows = [row for row in rows if row[name] == value]
    if query.get("api.columns.enable") == "1":
        wanted = {query[f"api.columns.{letter}"] for letter in "abc" if f"api.columns.{letter}" in query}
        rows = [{name: value for name, value in row.items() if name in wanted} for row in rows]
    return rows


class DirectAdmin(Panel):
    """The legacy API in its text form. `forbidden` are commands that the key may not use: they show a page."""

    def __init__(self) -> None:
        super().__init__()
        self.forbidden: set[str] = set()
        self.tells_creators = True

    def answer(self, function: str, query: list[tuple[str, str]], authorization: str) -> tuple[int, Any]:
        basic = base64.b64encode(f"admin:{LOGIN_KEY}".encode()).decode()
        if authorization != f"Basic {basic}":
            return 401, b"error=1&text=Access%20denied&details="
        if function in self.forbidden:
            return 200, LOGIN_PAGE
        method = getattr(self, function.lower(), None)
        return 200, method(dict(query)).encode() if method else an_error("Unknown command").encode()

    def usage_of(self, name: str) -> dict[str, str]:
        of = self.tenants[name]
        traffic = f"{of['traffic'] / MIB:.4f}".rstrip("0").rstrip(".")
        usage = {"bandwidth": of.get("bandwidth", traffic), "quota": f"{of['disk_mib']:.4f}"}
        usage |= {"mysql": str(of["databases"]), "nemails": str(of["mailboxes"])}
        usage |= {"vdomains": str(of["domains"].get("addon", 0) + 1), "ftp": "1"}
        return usage | {"nsubdomains": str(of["domains"].get("sub", 0)), "db_quota": "1048576", "email_quota": "0"}

    def limits_of(self, name: str) -> dict[str, str]:
        of = self.tenants[name]
        bandwidth = str(of["traffic_limit"] // MIB) if of["traffic_limit"] else "unlimited"
        quota = "unlimited" if of["disk_limit_mib"] is None else str(of["disk_limit_mib"])
        return {"bandwidth": bandwidth, "quota": quota, "vdomains": "unlimited"}

    def cmd_api_all_user_usage(self, query: dict[str, str]) -> str:
        lines = []
        for name, of in self.tenants.items():
            usage, limits = self.usage_of(name), self.limits_of(name)
            row = {"default": f"{name}.example"}
            row |= {key: f"{usage[key]} / {limits[key]}" for key in ("bandwidth", "quota", "vdomains")}
            row |= {"suspended": "Yes:billing" if of["suspended"] else "No", "package": "default"}
            if self.tells_creators:
                row["creator"] = of["owner"]
            names = "<br>".join([f"{name}.example", f"other.{name}.test"])
            lines.append(f"{name}={urllib.parse.urlencode(row, quote_via=urllib.parse.quote)}&list={names}\n")
        return "".join(lines)

    def cmd_api_show_all_users(self, query: dict[str, str]) -> str:
        return urllib.parse.urlencode([("list[]", name) for name in self.tenants])

    def cmd_api_show_resellers(self, query: dict[str, str]) -> str:
        return urllib.parse.urlencode([("list[]", name) for name in sorted(self.owners())])

    def cmd_api_show_users(self, query: dict[str, str]) -> str:
        owner = query.get("reseller", "carol")
        if owner not in self.owners():
            return an_error("No such reseller")
        return "&".join(f"list[]={name}" for name, of in self.tenants.items() if of["owner"] == owner)

    def cmd_api_show_user_usage(self, query: dict[str, str]) -> str:
        name = query["user"]
        return urllib.parse.urlencode(self.usage_of(name)) if name in self.tenants else an_error("No such user")

    def cmd_api_show_user_config(self, query: dict[str, str]) -> str:
        name = query["user"]
        return urllib.parse.urlencode(self.limits_of(name)) if name in self.tenants else an_error("No such user")

    def owners(self) -> set[str]:
        return {of["owner"] for of in self.tenants.values()} - {"root"}


def an_error(text: str) -> str:
    return f"error=1&text={urllib.parse.quote(text)}&details="


@contextmanager
def running(panel: Panel) -> Iterator[Panel]:
    """Serve a panel on a free port; `panel.url` says where."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            url = urllib.parse.urlsplit(self.path)
            query = urllib.parse.parse_qsl(url.query, keep_blank_values=True)
            function = url.path.rsplit("/", 1)[1]
            panel.calls.append((function, query))
            status, body = panel.answer(function, query, self.headers.get("Authorization", ""))
            headers: dict[str, str] = {}
            match panel.faults.get(function):
                case "500":
                    status, body = 500, b"Internal Server Error"
                case "403":
                    status, body = 403, b"Forbidden"
                case "429":
                    status, body, headers = 429, b"", {"Retry-After": "0"}
                    del panel.faults[function]
                case "html":
                    body = LOGIN_PAGE
                case "silence":
                    time.sleep(3)
                case "cut" | "broken" as fault:
                    whole = body if isinstance(body, bytes) else json.dumps(body).encode()
                    body = whole[: len(whole) * 3 // 5]
                    headers = {"Content-Length": str(len(whole))} if fault == "broken" else {}
                case bytes() as body:
                    pass
                case None:
                    pass
                case change if callable(change):
                    body = change(body)
            if not isinstance(body, bytes):
                body = json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = "Content-Length" in headers

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    panel.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield panel
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

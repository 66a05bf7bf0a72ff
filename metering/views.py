from django.http import HttpResponse
def _x(request, **k): return HttpResponse("x")
servers = new_server = server = edit_server = test_connection = collect_now = collections = collection = _x

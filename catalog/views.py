from django.http import HttpResponse
def _x(request, **k): return HttpResponse("x")
products = product_metrics = pricing = _x

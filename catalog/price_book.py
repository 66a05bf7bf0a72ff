"""The pricing of products, kept in memory for as long as none of its rows changes.

Every page of usage needs all of it, and it changes on few days of a year. One query asks whether the rows are those
that are known, instead of five that read them: PostgreSQL says of each row which transaction wrote it, and where.
"""

from collections.abc import Collection, Mapping

from catalog.models import MetricSetting
from metering.prepared import Question, execute

#: So many products are kept; beyond it, all are read anew.
MOST = 500

#: `xmin` is the transaction that wrote a row, `ctid` tells apart what one transaction wrote.
_WRITTEN = """
SELECT s.product_id, md5(string_agg(concat_ws(' ', s.id, s.xmin, s.ctid, m.xmin, m.ctid, v.id, v.xmin, v.ctid,
    (SELECT string_agg(concat_ws(' ', id, xmin, ctid), ',' ORDER BY id)
        FROM catalog_enabledspan WHERE setting_id = s.id),
    (SELECT string_agg(concat_ws(' ', id, xmin, ctid), ',' ORDER BY id)
        FROM catalog_bracketprice WHERE version_id = v.id),
    (SELECT string_agg(concat_ws(' ', id, xmin, ctid), ',' ORDER BY id)
        FROM catalog_chargebounds WHERE version_id = v.id)
), ';' ORDER BY s.id, v.id))
FROM catalog_metricsetting s
JOIN metering_metric m ON m.id = s.metric_id
LEFT JOIN catalog_pricingversion v ON v.setting_id = s.id
WHERE s.product_id = ANY(%(products)s)
GROUP BY s.product_id
"""

#: By product: how its rows were written, and what they say.
_known: dict[int, tuple[str, list[MetricSetting]]] = {}


def settings_of(products: Collection[int]) -> Mapping[int, list[MetricSetting]]:
    """Return the metric settings of products, as `with_pricing` fetches them, in order of the metrics' names.

    One query, and five more if something changed. The settings are shared: they are there to be read only.
    """
    if not products:
        return {}
    written: dict[int, str] = dict(execute(*asked_of(products)))
    known = {pk: _known[pk] for pk in written if pk in _known}
    changed = [pk for pk, mark in written.items() if pk not in known or known[pk][0] != mark]
    if changed:
        read: dict[int, list[MetricSetting]] = {pk: [] for pk in changed}
        rows = MetricSetting.objects.filter(product__in=changed).with_pricing()
        for setting in rows.order_by("metric__display_name", "metric_id"):
            read[setting.product_id].append(setting)
        if len(_known) + len(changed) > MOST:
            _known.clear()
        for pk, settings in read.items():
            _known[pk] = known[pk] = written[pk], settings
    return {pk: settings for pk, (_, settings) in known.items()}


def remembered(products: Collection[int]) -> Mapping[int, list[MetricSetting]]:
    """Return what was known of products when they were last asked for, to ask ahead by; `settings_of` says what is."""
    return {pk: _known[pk][1] for pk in products if pk in _known}


def asked_of(products: Collection[int]) -> Question:
    """Return what is asked to know whether something changed."""
    return Question(_WRITTEN, {"products": list(products)}, len(products))

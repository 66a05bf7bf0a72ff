"""Who uses how much: servers, their tenants, and what collections found out about them."""

from metering.models.collections import Collection as Collection
from metering.models.collections import HeldValue as HeldValue
from metering.models.corrections import Correction as Correction
from metering.models.metrics import Metric as Metric
from metering.models.pushes import Pushed as Pushed
from metering.models.pushes import PushKey as PushKey
from metering.models.pushes import Upload as Upload
from metering.models.servers import Server as Server
from metering.models.servers import default_time_zone as default_time_zone
from metering.models.servers import validate_time_zone as validate_time_zone
from metering.models.tenants import Tenant as Tenant
from metering.models.usage import MAX_VALUE as MAX_VALUE
from metering.models.usage import Latest as Latest
from metering.models.usage import Reading as Reading
from metering.models.usage import Restated as Restated
from metering.models.usage import Usage as Usage

"""What is sold, to whom, at what price."""

from catalog.clients import ApiKey as ApiKey
from catalog.clients import Client as Client
from catalog.clients import ClientUser as ClientUser
from catalog.clients import Invitation as Invitation
from catalog.clients import Role as Role
from catalog.clients import validate_currency as validate_currency
from catalog.models.limits import Meter as Meter
from catalog.models.limits import OveragePrice as OveragePrice
from catalog.models.limits import OverageTerms as OverageTerms
from catalog.models.limits import UsedOfLimit as UsedOfLimit
from catalog.models.overrides import Override as Override
from catalog.models.overrides import OverridePrice as OverridePrice
from catalog.models.pricing import BracketPrice as BracketPrice
from catalog.models.pricing import ChargeBounds as ChargeBounds
from catalog.models.pricing import EnabledSpan as EnabledSpan
from catalog.models.pricing import MetricSetting as MetricSetting
from catalog.models.pricing import PricingVersion as PricingVersion
from catalog.models.products import Product as Product
from catalog.models.products import ProductPrice as ProductPrice
from catalog.models.services import OVER as OVER
from catalog.models.services import Service as Service
from catalog.taxes import TaxRate as TaxRate
from catalog.users import User as User

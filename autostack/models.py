"""Every model of every feature: imported for its side effect, so that the metadata is whole."""

from autostack.accounts import models as accounts
from autostack.builds import models as builds
from autostack.deployments import models as deployments
from autostack.domains import models as domains
from autostack.projects import models as projects
from autostack.status import models as status
from autostack.traffic import models as traffic

__all__ = ["accounts", "builds", "deployments", "domains", "projects", "status", "traffic"]

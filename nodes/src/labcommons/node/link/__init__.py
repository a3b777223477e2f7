"""The link to the facility: two lanes and the uploads, all dialled outward by the node."""

from labcommons.node.link.calls import Caller, LinkError
from labcommons.node.link.lanes import Link, Present
from labcommons.node.link.uploads import BytesMissing, ObjectFolder, Uploads

__all__ = ["BytesMissing", "Caller", "Link", "LinkError", "ObjectFolder", "Present", "Uploads"]

"""The overlap of both sides on a GPU: fixed tables, maps summed in one pass, and nothing that the host waits for."""

from monai_instance_loss.losses.engine.cuda.sums import MapName, region_map, region_sums
from monai_instance_loss.losses.engine.cuda.tables import TableOverlap, table_maps

__all__ = ["MapName", "TableOverlap", "region_map", "region_sums", "table_maps"]

"""What Slicer's application gives to a module: the scene, `slicer.app`, `slicer.modules`, reading and writing."""

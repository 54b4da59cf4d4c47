"""Known flat things - covers, boxes, labels, paintings - found in a photo: retrieval, then geometry, then chance."""

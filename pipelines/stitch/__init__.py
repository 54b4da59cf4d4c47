"""Photos of a camera that turned to panoramas: overlaps, joint adjustment, projection, exposure, seams, blending."""

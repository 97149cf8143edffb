"""Prompts for the scene captioner: the two prompts of the demo, and other wordings that make it robust."""

from __future__ import annotations

LONG_PROMPTS = (
    "Describe this image in detail: its objects with their colours, sizes, materials, number and places, how they"
    " relate to each other, and the background.",
    "Describe this image in detail.",
    "Describe the image.",
    "What is in this image?",
    "What do you see in the picture?",
    "Describe in detail what this picture shows.",
    "Write a long caption for this image.",
    "Write a detailed description of the scene, its objects and the background.",
    "Please describe all objects in this image and where they are.",
    "Describe this picture in several sentences.",
)
SHORT_PROMPTS = (
    "Describe this image in one sentence.",
    "Describe the image in one sentence.",
    "Write a short caption for this image.",
    "Write one sentence about this picture.",
    "Briefly describe this image.",
    "Give a brief description of the picture.",
    "Caption this image in a single short sentence.",
    "Describe the scene in one short sentence.",
    "What does this image show? Answer in one sentence.",
    "Write a brief caption.",
)
EXACT_SHARE = 0.7  # of training questions that are exactly the demo's prompts

"""From a generator to translated frames: export, engines, video.

export, graph_info     generator -> ONNX file that takes frames and gives frames
cache                  where graphs and compiled engines live, and when one is used again
source                 a model file or generator, as the backends ask for it
runners                one backend each, behind the protocol in tickets
tickets                batches in flight
translator             frames in, frames out
doctor, gpus, hardware what this machine has, and which backend that means
throughput             how fast it runs here
parity                 how far an engine is from the float32 generator
pipeline, colour, containers, video, images, progress   files in, files out
"""

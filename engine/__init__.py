"""From a generator to translated frames.

Graphs        export, frame_graph, graph_info, onnx_header, graph_weights; int8, pixel_blocks
Plans         plan, plan_settings, plan_builder, plan_file; typed_graph, audit, gate, rounding;
              real_frames, flavours
Where to      cache, cache_space
What runs     model_source, runners, backend_choice, frames, tickets, translator; cuda,
              device_arrays, plane_network; once
Otherwise     statistics, stabilize, bands, tiling
Pictures      images, image_files, targets
Videos        endpoints, opening, cameras, containers, cutting, endings, layout; encoding, muxers,
              hardware, writer, frame_times, carried; video, job, pipeline, conversion, colour,
              planes, options, live, segments, comparison, preview, progress
This machine  doctor, gpus, throughput, throughput_report, parity
Elsewhere     triton_repository; runtime, the C and C++ library

The first line of each says what it is for.
"""

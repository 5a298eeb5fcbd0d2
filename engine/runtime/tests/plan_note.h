// The note that `cyclegan build` puts beside a plan, as far as this library reads it.
#pragma once

#include <string>

#include "sha256.h"

inline std::string note_on(const std::string &plan, const std::string &profile,
                           const std::string &flavour = "tensorrt",
                           const std::string &version = "11.1") {
    std::string graph;
    for (const char *pair :
         {"format_version\": \"1", "size_multiple\": \"4", "precision\": \"float16",
          "weights_sha256\": \"0", "domains\": \"[\\\"A\\\", \\\"B\\\"]",
          "config\": \"{\\\"in_channels\\\": 3, \\\"out_channels\\\": 3}"})
        graph += (graph.empty() ? "\"cyclegan." : ", \"cyclegan.") + std::string(pair) + "\"";
    cyclegan::Sha256 sha;
    sha.add(plan);
    return "{\"key\": {\"format\": 1, \"flavour\": \"" + flavour + "\", \"version\": \"" + version +
           "\", \"precision\": \"float16\", \"profile\": \"" + profile + "\"}, \"sha256\": \"" +
           sha.hex() + "\", \"facts\": {\"graph\": {" + graph + "}}}";
}

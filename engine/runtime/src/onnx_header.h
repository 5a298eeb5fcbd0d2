// The metadata of an ONNX file, read without ONNX.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace cyclegan {

struct OnnxHeader {
    std::map<std::string, std::string, std::less<>> metadata;
    // SHA-256 over the file without its metadata entry kOnnxDigestKey, in hexadecimal.
    std::string digest;
    // Another file that holds weights, if there is one; no digest of this one tells of them.
    std::optional<std::string> elsewhere;
};

inline constexpr std::string_view kOnnxDigestKey = "cyclegan.graph_sha256";

// Throws std::invalid_argument, which says why, where `bytes` are no complete ONNX file.
OnnxHeader read_onnx_header(std::string_view bytes);

}  // namespace cyclegan

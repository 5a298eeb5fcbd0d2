"""Write the virtual functions that TensorRT's objects are made of, each of which ends the process.

python stubs.py NvInferImpl.h stubs.h

A stand-in overrides those that it has; what a later version adds needs nothing written here.
"""

import re
import sys
from pathlib import Path

CLASSES = ("VRuntime", "VCudaEngine", "VExecutionContext")

text = Path(sys.argv[1]).read_text()
lines = ["#pragma once", "#pragma GCC system_header  // of its kind: no warnings", ""]
lines += ["#include <NvInferRuntime.h>", "", "#include <cstdlib>", ""]
lines += ["namespace nvinfer1 {", "namespace apiv {", ""]
for name in CLASSES:
    body = re.search(rf"class {name} : public VRoot\s*{{(.*?)\n}};", text, re.DOTALL)
    if body is None:
        sys.exit(f"{sys.argv[1]} has no class {name}")
    functions = re.findall(r"virtual ([^;]*?) = 0;", body[1])
    lines += [f"struct Stub{name[1:]} : {name} {{"]
    lines += [f"    {' '.join(one.split())} override {{ std::abort(); }}" for one in functions]
    lines += ["};", ""]
lines += ["}  // namespace apiv", "}  // namespace nvinfer1", ""]
Path(sys.argv[2]).write_text("\n".join(lines))

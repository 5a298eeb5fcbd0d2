# TensorRT's headers, of either flavour, for a backend that loads its library when it runs.
#
# Looks in TensorRT_ROOT (an unpacked archive), in the system's folders (Debian packages), and for
# libraries and CUDA's headers in the wheels of the Python that is found. Wheels bring no headers.
#
#   TensorRT_FOUND, TensorRT_VERSION, TensorRT_FLAVOUR (tensorrt or tensorrt-rtx)
#   TensorRT_LIBRARY        its name, as in nvinfer
#   TensorRT_LIBRARY_DIR    where the library stands here, if it does; it is not needed to build
#   TensorRT::headers       headers of TensorRT and CUDA
find_package(Python3 QUIET COMPONENTS Interpreter)
set(wheels "")
if(Python3_Interpreter_FOUND)
  execute_process(COMMAND "${Python3_EXECUTABLE}" -c
                          "import sysconfig; print(sysconfig.get_path('purelib'))"
                  OUTPUT_VARIABLE wheels ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
endif()

find_path(TensorRT_INCLUDE_DIR NvInferRuntime.h
          HINTS ${TensorRT_ROOT} ENV TensorRT_ROOT
          PATHS /usr/local/TensorRT /opt/TensorRT PATH_SUFFIXES include)
find_path(TensorRT_CUDA_INCLUDE_DIR cuda_runtime_api.h
          HINTS ${CUDAToolkit_ROOT} ENV CUDAToolkit_ROOT ENV CUDA_PATH
          PATHS /usr/local/cuda "${wheels}/nvidia/cu13" "${wheels}/nvidia/cuda_runtime"
          PATH_SUFFIXES include)

if(TensorRT_INCLUDE_DIR)
  file(STRINGS "${TensorRT_INCLUDE_DIR}/NvInferVersion.h" lines
       REGEX "#define (TRT|NV_TENSORRT)_(MAJOR|MINOR|PATCH)[A-Z_]* +[0-9]+")
  string(REGEX MATCHALL "[A-Z_]+ +[0-9]+" numbers "${lines}")
  list(TRANSFORM numbers REPLACE ".* " "")
  list(JOIN numbers "." TensorRT_VERSION)
  set(TensorRT_FLAVOUR tensorrt)
  set(TensorRT_LIBRARY nvinfer)
  if(lines MATCHES "TRT_MAJOR_RTX")
    set(TensorRT_FLAVOUR tensorrt-rtx)
    set(TensorRT_LIBRARY tensorrt_rtx)
  endif()
  string(REGEX MATCH "^[0-9]+" major "${TensorRT_VERSION}")
  find_path(TensorRT_LIBRARY_DIR lib${TensorRT_LIBRARY}.so.${major}
            HINTS ${TensorRT_ROOT} ENV TensorRT_ROOT "${wheels}/tensorrt_libs"
                  "${wheels}/tensorrt_rtx_libs"
            PATHS /usr/lib/${CMAKE_LIBRARY_ARCHITECTURE} /usr/local/TensorRT /opt/TensorRT
            PATH_SUFFIXES lib)
  if(NOT TensorRT_LIBRARY_DIR)
    set(TensorRT_LIBRARY_DIR "")  # not its "-NOTFOUND", a folder that the loader would look into
  endif()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(TensorRT
  REQUIRED_VARS TensorRT_INCLUDE_DIR TensorRT_CUDA_INCLUDE_DIR VERSION_VAR TensorRT_VERSION)
mark_as_advanced(TensorRT_INCLUDE_DIR TensorRT_CUDA_INCLUDE_DIR TensorRT_LIBRARY_DIR)

if(TensorRT_FOUND AND NOT TARGET TensorRT::headers)
  add_library(TensorRT::headers INTERFACE IMPORTED)
  target_include_directories(TensorRT::headers SYSTEM INTERFACE "${TensorRT_INCLUDE_DIR}"
                             "${TensorRT_CUDA_INCLUDE_DIR}")
endif()

# Which backends are built: AUTO builds what is found, ON insists, OFF leaves it out.

# OpenVINO's wheel brings headers and a CMake package: it is found without being told where.
function(find_openvino_wheel)
  find_package(Python3 QUIET COMPONENTS Interpreter)
  if(Python3_Interpreter_FOUND)
    execute_process(
      COMMAND "${Python3_EXECUTABLE}" -c
              "from importlib.util import find_spec; print(find_spec('openvino').submodule_search_locations[0])"
      OUTPUT_VARIABLE folder ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
    if(EXISTS "${folder}/cmake/OpenVINOConfig.cmake")
      set(OpenVINO_DIR "${folder}/cmake" CACHE PATH "OpenVINO's CMake package")
    endif()
  endif()
endfunction()

set(backends "")
if(CYCLEGAN_OPENVINO)
  find_package(OpenVINO QUIET COMPONENTS Runtime)
  if(NOT OpenVINO_FOUND)
    unset(OpenVINO_DIR CACHE)
    find_openvino_wheel()
    find_package(OpenVINO QUIET COMPONENTS Runtime)
  endif()
  if(OpenVINO_FOUND)
    # Said, not left to CMake, which forgets folders inside the sources, such as .venv.
    cyclegan_backend(openvino SOURCES src/openvino.cpp LIBRARIES openvino::runtime
                     RPATH $<TARGET_FILE_DIR:openvino::runtime>)
    list(APPEND backends "openvino ${OpenVINO_VERSION}")
  elseif(NOT CYCLEGAN_OPENVINO STREQUAL "AUTO")
    message(FATAL_ERROR "CYCLEGAN_OPENVINO is ON, and OpenVINO is not found: pip install openvino, "
                        "or set OpenVINO_DIR to the folder of OpenVINOConfig.cmake")
  endif()
endif()

if(CYCLEGAN_TENSORRT)
  find_package(TensorRT QUIET)
  if(TensorRT_FOUND)
    cyclegan_backend(tensorrt SOURCES src/tensorrt.cpp src/cuda_driver.cpp
                     LIBRARIES TensorRT::headers ${CMAKE_DL_LIBS} RPATH ${TensorRT_LIBRARY_DIR})
    list(APPEND backends "tensorrt ${TensorRT_VERSION} (${TensorRT_FLAVOUR})")
  elseif(NOT CYCLEGAN_TENSORRT STREQUAL "AUTO")
    message(FATAL_ERROR "CYCLEGAN_TENSORRT is ON, and its headers are not found: set TensorRT_ROOT "
                        "to where TensorRT was unpacked, and CUDAToolkit_ROOT to CUDA's folder")
  endif()
endif()

if(NOT backends)
  message(WARNING "no backend is built: the library will open no model")
endif()
list(JOIN backends ", " backends)
message(STATUS "Backends: ${backends}")

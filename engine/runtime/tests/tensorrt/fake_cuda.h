// What a test asks of the stand-in for CUDA's driver (fake_cuda.cpp), beside CUDA's own functions.
#pragma once

#include <cuda.h>

#include <functional>

// The next call of the function of this name fails with `result`; the names "kernel", of what runs
// in a stream, and those of TensorRT's functions that may fail are taken, too.
void fake_cuda_fail(const char *function, CUresult result);

// The failure that was asked for of this function, or CUDA_SUCCESS.
CUresult fake_cuda_failure(const char *function);

// Behind what is in the stream. What it returns, if it fails, is the stream's state from then on.
void fake_cuda_enqueue(CUstream stream, std::function<CUresult()> work);

// Whether so many bytes from there on are memory of the device.
bool fake_cuda_owns(CUdeviceptr address, size_t size);

// Memory, streams, events and contexts that were not given back.
int fake_cuda_alive();

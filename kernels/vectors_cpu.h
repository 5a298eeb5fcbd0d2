// Numbers and vectors of a CPU: bfloat16, and as many floats as a register holds.

#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

using bfloat16 = std::uint16_t;
using Index = std::int64_t;

inline float wide(bfloat16 x) {
  const std::uint32_t bits = static_cast<std::uint32_t>(x) << 16;
  float y;
  std::memcpy(&y, &bits, sizeof y);
  return y;
}

inline float wide(float x) { return x; }

// To the nearest, halves to even; NaN stays NaN.
inline bfloat16 narrow(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const std::uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  return static_cast<bfloat16>(x != x ? 0x7fc0u : rounded);
}

inline void set(bfloat16& y, float x) { y = narrow(x); }
inline void set(float& y, float x) { y = x; }

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef std::uint32_t Words __attribute__((vector_size(4 * LANES)));
typedef bfloat16 Halves __attribute__((vector_size(2 * LANES)));

template <class Vector>
inline Vector vector_at(const void* x) {
  Vector y;
  std::memcpy(&y, x, sizeof y);
  return y;
}

inline Floats load(const float* x) { return vector_at<Floats>(x); }

inline Floats load(const bfloat16* x) {
  const Halves halves = vector_at<Halves>(x);
#if defined(__AVX512F__)  // one instruction, for which GCC takes five
  const auto words =
      reinterpret_cast<Words>(_mm512_cvtepu16_epi32(reinterpret_cast<__m256i>(halves)));
#else
  const Words words = __builtin_convertvector(halves, Words);
#endif
  return reinterpret_cast<Floats>(words << 16);
}

// As of one number.
inline Halves narrow(Floats x) {
#if defined(__AVX512BF16__)
  return reinterpret_cast<Halves>(_mm512_cvtneps_pbh(x));
#else
  const Words bits = reinterpret_cast<Words>(x);
  const Words rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  return __builtin_convertvector(x == x ? rounded : Words{} + 0x7fc0u, Halves);
#endif
}

inline void store(float* y, Floats x) { std::memcpy(y, &x, sizeof x); }

inline void store(bfloat16* y, Floats x) {
  const Halves halves = narrow(x);
  std::memcpy(y, &halves, sizeof halves);
}

// Numbers as a V, one or LANES of them.
template <class V, class Number>
inline V read(const Number* x) {
  if constexpr (sizeof(V) == sizeof(float))
    return wide(*x);
  else
    return load(x);
}

// What `read` has read, written.
template <class Number>
inline void write(Number* y, float x) {
  set(*y, x);
}
template <class Number>
inline void write(Number* y, Floats x) {
  store(y, x);
}

// work(V, k) for numbers k to k + LANES of `count`, and for those that are left, one by one.
template <class Work>
inline void in_vectors(Index count, Work work) {
  Index k = 0;
  for (; k + LANES <= count; k += LANES) work(Floats{}, k);
  for (; k < count; ++k) work(float{}, k);
}

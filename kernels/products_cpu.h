// Products of small matrices, M = A B or M += A B, summed in float32.
//
// B is a panel of COLUMNS columns, (k / GROUP, COLUMNS, GROUP): the numbers of a column that one
// instruction multiplies and adds lie side by side. A's columns come in groups of DEPTH; k is a
// multiple of it. M is (rows, COLUMNS) without holes.

#pragma once

#include "vectors_cpu.h"

#if defined(__AMX_BF16__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

constexpr int COLUMNS = 2 * LANES;

template <class Number>
constexpr int GROUP = 4 / sizeof(Number);
template <class Number>
constexpr int DEPTH = LANES * GROUP<Number>;

// A: rows are `row` numbers apart, groups of columns `step`.
template <class Number>
struct Rows {
  const Number* at;
  Index row, step;
  const Number* from(Index i) const { return at + i * row; }
};

inline Floats add_product(Floats sum, const float* a, Floats b) { return sum + *a * b; }

#if defined(__AVX512BF16__)
inline Floats add_product(Floats sum, const bfloat16* a, Floats b) {
  std::uint32_t pair;
  std::memcpy(&pair, a, sizeof pair);
  return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(Words{} + pair),
                          reinterpret_cast<__m512bh>(b));
}
#endif

// As many rows as leave registers for a row of B: of AVX2's sixteen, twelve are sums.
constexpr int MOST_ROWS = LANES == 8 ? 6 : 8;

template <int rows, class Number>
void multiply_rows(Rows<Number> a, const Number* panel, Index k, float* m, bool adding) {
  Floats sums[rows][2];
#pragma GCC unroll 8
  for (int i = 0; i < rows; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < 2; ++j)
      sums[i][j] = adding ? load(m + i * COLUMNS + j * LANES) : Floats{};
  for (Index done = 0; done < k; done += DEPTH<Number>, a.at += a.step)
    for (int g = 0; g < DEPTH<Number>; g += GROUP<Number>, panel += COLUMNS * GROUP<Number>) {
      const Floats left = vector_at<Floats>(panel);
      const Floats right = vector_at<Floats>(panel + DEPTH<Number>);
#pragma GCC unroll 8
      for (int i = 0; i < rows; ++i) {
        sums[i][0] = add_product(sums[i][0], a.from(i) + g, left);
        sums[i][1] = add_product(sums[i][1], a.from(i) + g, right);
      }
    }
#pragma GCC unroll 8
  for (int i = 0; i < rows; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < 2; ++j) store(m + i * COLUMNS + j * LANES, sums[i][j]);
}

template <class Number>
void multiply(Rows<Number> a, const Number* panel, Index k, float* m, Index rows, bool adding) {
  for (; rows >= MOST_ROWS; rows -= MOST_ROWS, m += MOST_ROWS * COLUMNS) {
    multiply_rows<MOST_ROWS>(a, panel, k, m, adding);
    a.at = a.from(MOST_ROWS);
  }
  for (; rows > 0; --rows, m += COLUMNS) {
    multiply_rows<1>(a, panel, k, m, adding);
    a.at = a.from(1);
  }
}

#if defined(__AMX_BF16__)

struct TileConfig {
  std::uint8_t palette = 1, start = 0, reserved[14] = {};
  std::uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// The matrix unit's eight tiles of 16 rows, for a thread, while this lives. What oneDNN has set
// comes back after it.
class Tiles {
 public:
  static bool allowed() {
    constexpr int ask = 0x1023, tile_data = 18;  // Linux: ARCH_REQ_XCOMP_PERM, XFEATURE_XTILE_DATA
    static const bool granted = syscall(SYS_arch_prctl, ask, tile_data) == 0;
    return granted;
  }
  explicit Tiles(bool used) : used(used) {
    static const TileConfig sixteen_rows;
    if (!used) return;
    _tile_storeconfig(&before);
    _tile_loadconfig(&sixteen_rows);
  }
  ~Tiles() {
    if (used) _tile_loadconfig(&before);
  }
  Tiles(const Tiles&) = delete;

  void multiply(Rows<float> a, const float* panel, Index k, float* m, Index rows, bool adding) {
    ::multiply(a, panel, k, m, rows, adding);
  }

  void multiply(Rows<bfloat16> a, const bfloat16* panel, Index k, float* m, Index rows,
                bool adding) {
    constexpr Index half = 16 * COLUMNS, bytes = 4 * COLUMNS;
    for (; used && rows >= 32; rows -= 32, m += 2 * half) {
      if (adding) {
        _tile_loadd(0, m, bytes);
        _tile_loadd(1, m + LANES, bytes);
        _tile_loadd(2, m + half, bytes);
        _tile_loadd(3, m + half + LANES, bytes);
      } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
      }
      const bfloat16 *upper = a.at, *lower = a.from(16), *left = panel;
      a.at = a.from(32);
      for (Index g = 0; g < k; g += 32, upper += a.step, lower += a.step, left += 32 * COLUMNS) {
        _tile_loadd(4, upper, 2 * a.row);
        _tile_loadd(6, left, bytes);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, left + 2 * LANES, bytes);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, lower, 2 * a.row);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
      }
      _tile_stored(0, m, bytes);
      _tile_stored(1, m + LANES, bytes);
      _tile_stored(2, m + half, bytes);
      _tile_stored(3, m + half + LANES, bytes);
    }
    ::multiply(a, panel, k, m, rows, adding);
  }

 private:
  alignas(64) TileConfig before;
  const bool used;
};

#else

// No matrix unit.
struct Tiles {
  static bool allowed() { return false; }
  explicit Tiles(bool) {}
  template <class Number>
  void multiply(Rows<Number> a, const Number* panel, Index k, float* m, Index rows, bool adding) {
    ::multiply(a, panel, k, m, rows, adding);
  }
};

#endif

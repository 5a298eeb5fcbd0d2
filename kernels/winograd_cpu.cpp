// 3x3 convolutions on a CPU by Winograd's minimal filtering (Lavin and Gray 2016), channels last.
//
// A square of TILE + 2 by TILE + 2 pixels of x is transformed, V = B' x B, and each 3x3 kernel too,
// U = G w G'. Their products, position by position and summed over channels, transformed back, are
// TILE by TILE pixels of the convolution: y = A' (U V) A. With TILE = 2 this takes 16 products
// instead of 36, with TILE = 4 36 instead of 144; but then B and A have larger numbers, and bfloat16
// has too few digits for them. Position by position the sums over channels are products of matrices,
// squares by channels times channels by outputs (products_cpu.h). Squares come in blocks whose
// transforms stay in the cache of a core.
//
// The gradient for x is the same convolution, of dy with two rows of zeros around it and the kernel
// turned. That for w is dw = G' (V' Z) G, with Z = A dy A': there squares are summed over. Both sums
// go over everything in a fixed order, so results do not depend on the number of threads.
//
// N batch, C channels, H height, W width, O outputs; without holes x is (N, H, W, C), y (N, H - 2,
// W - 2, O) and w (O, 3, 3, C). C and O: multiples of 32. work: of anybody's.

#include <omp.h>

#include <algorithm>
#include <type_traits>

#include "products_cpu.h"

namespace {

template <int rows, int columns>
struct Matrix {
  float at[rows][columns];
  constexpr Matrix<columns, rows> transposed() const {
    Matrix<columns, rows> result{};
    for (int i = 0; i < rows; ++i)
      for (int j = 0; j < columns; ++j) result.at[j][i] = at[i][j];
    return result;
  }
};

// The paper's B', G and A' for results of TILE by TILE pixels.
template <int TILE>
struct Filtering;

template <>
struct Filtering<2> {
  static constexpr Matrix<4, 4> B{{{1, 0, -1, 0}, {0, 1, 1, 0}, {0, -1, 1, 0}, {0, 1, 0, -1}}};
  static constexpr Matrix<4, 3> G{{{1, 0, 0}, {.5, .5, .5}, {.5, -.5, .5}, {0, 0, 1}}};
  static constexpr Matrix<2, 4> A{{{1, 1, 1, 0}, {0, 1, -1, -1}}};
};

template <>
struct Filtering<4> {
  static constexpr Matrix<6, 6> B{{{4, 0, -5, 0, 1, 0},
                                   {0, -4, -4, 1, 1, 0},
                                   {0, 4, -4, -1, 1, 0},
                                   {0, -2, -1, 2, 1, 0},
                                   {0, 2, -1, -2, 1, 0},
                                   {0, 4, 0, -5, 0, 1}}};
  static constexpr Matrix<6, 3> G{{{1 / 4.f, 0, 0},
                                   {-1 / 6.f, -1 / 6.f, -1 / 6.f},
                                   {-1 / 6.f, 1 / 6.f, -1 / 6.f},
                                   {1 / 24.f, 1 / 12.f, 1 / 6.f},
                                   {1 / 24.f, -1 / 12.f, 1 / 6.f},
                                   {0, 0, 1}}};
  static constexpr Matrix<4, 6> A{
      {{1, 1, 1, 1, 1, 0}, {0, 1, -1, 2, -2, 0}, {0, 1, 1, 4, 4, 0}, {0, 1, -1, 8, -8, 1}}};
};

// The sum of values by factors, which are constants where loops are unrolled: then nothing is
// multiplied by 0 or 1, or added to 0.
template <int count>
inline __attribute__((always_inline)) Floats weighted(const float (&factors)[count],
                                                      const Floats (&values)[count]) {
  Floats sum{};
  bool empty = true;
#pragma GCC unroll 6
  for (int k = 0; k < count; ++k) {
    const float factor = factors[k];
    if (factor == 0) continue;
    const Floats term = factor == 1 ? values[k] : factor == -1 ? -values[k] : factor * values[k];
    sum = empty ? term : sum + term;
    empty = false;
  }
  return sum;
}

// Row i of m x m'.
template <int rows, int columns, const Matrix<rows, columns>& m>
inline __attribute__((always_inline)) void sandwich_row(Floats (&y)[rows],
                                                        const Floats (&x)[columns][columns], int i) {
  Floats half[columns];
#pragma GCC unroll 6
  for (int j = 0; j < columns; ++j) {
    Floats column[columns];
#pragma GCC unroll 6
    for (int k = 0; k < columns; ++k) column[k] = x[k][j];
    half[j] = weighted(m.at[i], column);
  }
#pragma GCC unroll 6
  for (int j = 0; j < rows; ++j) y[j] = weighted(m.at[j], half);
}

// y = m x m'.
template <int rows, int columns, const Matrix<rows, columns>& m>
inline __attribute__((always_inline)) void sandwich(Floats (&y)[rows][rows],
                                                    const Floats (&x)[columns][columns]) {
#pragma GCC unroll 6
  for (int i = 0; i < rows; ++i) sandwich_row<rows, columns, m>(y[i], x, i);
}

template <class Number>
struct Pictures {
  Number* at;
  Index h, w, c;
  bool has(Index row, Index column) const {
    return 0 <= row && row < h && 0 <= column && column < w;
  }
  Number* pixel(Index image, Index row, Index column) const {
    return at + ((image * h + row) * w + column) * c;
  }
};

// The squares that make up a batch of pictures, counted along rows, rows, and pictures.
template <int TILE>
struct Squares {
  Index count, high, wide;
  Squares(Index n, Index h, Index w)
      : count(n * ((h + TILE - 1) / TILE) * ((w + TILE - 1) / TILE)),
        high((h + TILE - 1) / TILE),
        wide((w + TILE - 1) / TILE) {}
  struct Corner {
    Index image, row, column;
  };
  Corner corner(Index s) const {
    return {s / (high * wide), s / wide % high * TILE, s % wide * TILE};
  }
};

// The pixels of a square; those outside the picture, which count as zero, are null.
template <int SIDE, class Number>
struct Square {
  const Number* pixels[SIDE][SIDE];
  Square() = default;
  template <class Corner>
  Square(Pictures<const Number> x, Corner corner, Index pad) {
    for (int i = 0; i < SIDE; ++i)
      for (int j = 0; j < SIDE; ++j) {
        const Index row = corner.row + i - pad, column = corner.column + j - pad;
        pixels[i][j] = x.has(row, column) ? x.pixel(corner.image, row, column) : nullptr;
      }
  }
  // LANES of its channels.
  void read(Floats (&x)[SIDE][SIDE], Index channel) const {
    for (int i = 0; i < SIDE; ++i)
      for (int j = 0; j < SIDE; ++j)
        x[i][j] = pixels[i][j] ? load(pixels[i][j] + channel) : Floats{};
  }
};

template <int TILE>
constexpr int POSITIONS = (TILE + 2) * (TILE + 2);

// How many rows multiply() takes at once, and how many squares a block has, a multiple of them.
template <class Number>
constexpr Index UNIT = sizeof(Number) == 2 ? 32 : MOST_ROWS;
#if defined(__AMX_BF16__)  // which is so fast that reading U takes longest
constexpr Index BLOCK_IN_HALVES = 96;
#else
constexpr Index BLOCK_IN_HALVES = 64;
#endif
template <class Number>
constexpr Index BLOCK = sizeof(Number) == 2 ? BLOCK_IN_HALVES : 48;
static_assert(BLOCK<float> % UNIT<float> == 0);

// From a position's transforms of a block to the next one's, of `width` columns. A power of two
// would put all positions into the same few places of a cache.
template <class Number>
constexpr Index apart(Index width) {
  return BLOCK<Number> * width + 32;
}

inline void put(void* to, Words x) { std::memcpy(to, &x, sizeof x); }

Index up_to(Index multiple, Index x) { return (x + multiple - 1) / multiple * multiple; }

// ---- Words: GROUP numbers, which one instruction multiplies and adds

// Numbers of the same lane and position in a word.
template <int ROWS, int SIDE>
inline Words in_words(const Floats (&x)[1][ROWS][SIDE], int position) {
  return reinterpret_cast<Words>(x[0][position / SIDE][position % SIDE]);
}

template <int ROWS, int SIDE>
inline Words in_words(const Floats (&x)[2][ROWS][SIDE], int position) {
  const int i = position / SIDE, j = position % SIDE;
#if defined(__AVX512BF16__)
  Words places{};
  for (int l = 0; l < LANES; ++l) places[l] = l | (LANES + l) << 16;
  const auto halves = _mm512_cvtne2ps_pbh(reinterpret_cast<__m512>(x[1][i][j]),
                                          reinterpret_cast<__m512>(x[0][i][j]));
  return reinterpret_cast<Words>(_mm512_permutexvar_epi16(reinterpret_cast<__m512i>(places),
                                                          reinterpret_cast<__m512i>(halves)));
#else
  return __builtin_convertvector(narrow(x[0][i][j]), Words) |
         __builtin_convertvector(narrow(x[1][i][j]), Words) << 16;
#endif
}

using Block = Words[LANES];

Words chosen(Words x, Words y, Words places) {
#if defined(__clang__)
  Words z;
  for (int l = 0; l < LANES; ++l) z[l] = places[l] < LANES ? x[places[l]] : y[places[l] - LANES];
  return z;
#else
  return __builtin_shuffle(x, y, places);
#endif
}

// Rows become columns: parts of `step` by `step` words off the diagonal change places.
template <int step = LANES / 2>
void turn(Block& x) {
  Words upper{}, lower{};
  for (int l = 0; l < LANES; ++l) {
    upper[l] = l & step ? LANES + l - step : l;
    lower[l] = l & step ? LANES + l : l + step;
  }
#pragma GCC unroll 16
  for (int i = 0; i < LANES; ++i) {
    if (i & step) continue;
    const Words a = x[i], b = x[i + step];
    x[i] = chosen(a, b, upper);
    x[i + step] = chosen(a, b, lower);
  }
  if constexpr (step > 1) turn<step / 2>(x);
}

// ---- Kernels

// A kernel's transform, from rows and columns that are row and column numbers apart.
template <int TILE>
void transform(Floats (&u)[TILE + 2][TILE + 2], const float* w, Index row, Index column) {
  Floats kernel[3][3];
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) kernel[i][j] = load(w + i * row + j * column);
  sandwich<TILE + 2, 3, Filtering<TILE>::G>(u, kernel);
}

// U of w (O, 3, 3, C) as panels: (O / COLUMNS, POSITIONS, C / GROUP, COLUMNS, GROUP).
template <int TILE, class Number>
void pack(const float* w, Number* u, Index o, Index c, Index threads) {
  constexpr int SIDE = TILE + 2;
#pragma omp parallel for num_threads(threads)
  for (Index output = 0; output < o; output += LANES)
    for (Index channel = 0; channel < c; channel += DEPTH<Number>) {
      Block blocks[POSITIONS<TILE>];
      for (int l = 0; l < LANES; ++l)
        for (int g = 0; g < GROUP<Number>; ++g) {
          Floats transformed[SIDE][SIDE];
          transform<TILE>(transformed, w + (output + l) * 9 * c + channel + g * LANES, 3 * c, c);
          for (int p = 0; p < POSITIONS<TILE>; ++p)
            store(reinterpret_cast<Number*>(&blocks[p][l]) + g * LANES,
                  transformed[p / SIDE][p % SIDE]);
        }
      const Index column = output % COLUMNS;
      Number* panel = u + (output - column) * POSITIONS<TILE> * c + channel * COLUMNS;
      for (int p = 0; p < POSITIONS<TILE>; ++p) {
        turn(blocks[p]);
        for (int l = 0; l < LANES; ++l)
          put(panel + p * COLUMNS * c + (l * COLUMNS + column) * GROUP<Number>, blocks[p][l]);
      }
    }
}

// U of the same w turned by 180 degrees, from outputs to channels: (C / COLUMNS, ..., O / GROUP, ...)
template <int TILE, class Number>
void pack_turned(const float* w, Number* u, Index o, Index c, Index threads) {
  constexpr int SIDE = TILE + 2;
#pragma omp parallel for num_threads(threads)
  for (Index channel = 0; channel < c; channel += LANES)
    for (Index output = 0; output < o; output += GROUP<Number>) {
      Floats transformed[GROUP<Number>][SIDE][SIDE];
      for (int g = 0; g < GROUP<Number>; ++g)
        transform<TILE>(transformed[g], w + ((output + g) * 9 + 8) * c + channel, -3 * c, -c);
      const Index column = channel % COLUMNS;
      Number* panel = u + (channel - column) * POSITIONS<TILE> * o + output * COLUMNS;
      for (int p = 0; p < POSITIONS<TILE>; ++p)
        put(panel + p * COLUMNS * o + column * GROUP<Number>, in_words(transformed, p));
    }
}

// ---- Convolution

// V of squares from the `first` on, (POSITIONS, BLOCK, C) with gaps.
template <int TILE, class Number>
void transform(Number* v, Pictures<const Number> x, const Squares<TILE>& squares, Index first,
               Index count, Index pad) {
  constexpr int SIDE = TILE + 2;
  for (Index s = 0; s < count; ++s) {
    const Square<SIDE, Number> square(x, squares.corner(first + s), pad);
    for (Index channel = 0; channel < x.c; channel += LANES) {
      Floats pixels[SIDE][SIDE], transformed[SIDE][SIDE];
      square.read(pixels, channel);
      sandwich<SIDE, SIDE, Filtering<TILE>::B>(transformed, pixels);
      for (int p = 0; p < POSITIONS<TILE>; ++p)
        store(v + p * apart<Number>(x.c) + s * x.c + channel, transformed[p / SIDE][p % SIDE]);
    }
  }
}

// COLUMNS outputs of those squares from m, (POSITIONS, BLOCK, COLUMNS) with gaps.
template <int TILE, class Number>
void transform_back(Pictures<Number> y, const float* m, const Squares<TILE>& squares, Index first,
                    Index count, Index output) {
  constexpr int SIDE = TILE + 2;
  for (Index s = 0; s < count; ++s) {
    const auto [image, row, column] = squares.corner(first + s);
    for (int k = 0; k < COLUMNS; k += LANES) {
      Floats products[SIDE][SIDE], pixels[TILE][TILE];
      for (int p = 0; p < POSITIONS<TILE>; ++p)
        products[p / SIDE][p % SIDE] = load(m + p * apart<Number>(COLUMNS) + s * COLUMNS + k);
      sandwich<TILE, SIDE, Filtering<TILE>::A>(pixels, products);
      for (int i = 0; i < TILE; ++i)
        for (int j = 0; j < TILE; ++j)
          if (y.has(row + i, column + j))
            store(y.pixel(image, row + i, column + j) + output + k, pixels[i][j]);
    }
  }
}

// What a thread needs in between, in float32.
template <int TILE, class Number>
Index convolution_work(Index c) {
  return POSITIONS<TILE> * (apart<Number>(COLUMNS) + apart<Number>(c) / GROUP<Number>);
}

template <int TILE, class Number>
void convolve(const Number* x, const Number* u, Number* y, float* work, Index n, Index c, Index h,
              Index w, Index o, Index pad, Index threads) {
  const Pictures<const Number> from{x, h, w, c};
  const Pictures<Number> to{y, h + 2 * pad - 2, w + 2 * pad - 2, o};
  const Squares<TILE> squares(n, to.h, to.w);
  const bool tiled = Tiles::allowed();
#pragma omp parallel num_threads(threads)
  {
    Tiles tiles(tiled);
    float* m = work + omp_get_thread_num() * convolution_work<TILE, Number>(c);
    Number* v = reinterpret_cast<Number*>(m + POSITIONS<TILE> * apart<Number>(COLUMNS));
#pragma omp for schedule(dynamic)
    for (Index first = 0; first < squares.count; first += BLOCK<Number>) {
      const Index count = std::min(BLOCK<Number>, squares.count - first);
      transform(v, from, squares, first, count, pad);
      for (Index output = 0; output < o; output += COLUMNS) {
        for (int p = 0; p < POSITIONS<TILE>; ++p)
          tiles.multiply(Rows<Number>{v + p * apart<Number>(c), c, DEPTH<Number>},
                         u + (output * POSITIONS<TILE> + p * COLUMNS) * c, c,
                         m + p * apart<Number>(COLUMNS), up_to(UNIT<Number>, count), false);
        transform_back(to, m, squares, first, count, output);
      }
    }
  }
}

// ---- The gradient for w

constexpr int TILE = 2;
constexpr auto A = Filtering<TILE>::A.transposed();
constexpr auto G = Filtering<TILE>::G.transposed();
constexpr int SIDE = TILE + 2;

// DEPTH squares of a batch; those after its last are zeros.
template <int side, class Number>
class SquareGroup {
 public:
  SquareGroup(Pictures<const Number> x, const Squares<TILE>& squares, Index first)
      : count(std::min<Index>(DEPTH<Number>, squares.count - first)) {
    for (Index s = 0; s < count; ++s) all[s] = {x, squares.corner(first + s), 0};
  }
  // A row of the transforms by m of COLUMNS of their channels, both halves of a line of the cache:
  // take(position, half, which words of GROUP squares, words).
  template <int row, const Matrix<SIDE, side>& m, class Take>
  void transform(Index channel, Take take) const {
    for (int l = 0; l < LANES; ++l)
      for (int half = 0; half < 2; ++half) {
        Floats transformed[GROUP<Number>][1][SIDE];
        for (int g = 0; g < GROUP<Number>; ++g) {
          const int s = l * GROUP<Number> + g;
          Floats pixels[side][side]{};
          if (s < count) all[s].read(pixels, channel + half * LANES);
          sandwich_row<SIDE, side, m>(transformed[g][0], pixels, row);
        }
        for (int p = 0; p < SIDE; ++p) take(p, half, l, in_words(transformed, p));
      }
  }

 private:
  Index count;
  Square<side, Number> all[DEPTH<Number>];
};

// How many squares are transformed before they are summed over. One row of the positions at a time:
// its transforms and its sums stay in the cache of a core.
template <class Number>
constexpr Index CHUNK = 64 * GROUP<Number>;

// How many outputs a task has: with more threads than rows, not all.
Index outputs_each(Index o, Index threads) {
  Index parts = 1;
  while (parts * SIDE < threads && o % (parts * 64) == 0) parts *= 2;
  return o / parts;
}

template <class Number>
Index transforms_work(Index c, Index o) {
  return SIDE * CHUNK<Number> * (c + o) / GROUP<Number>;
}

template <class Number>
Index gradient_work(Index c, Index o, Index threads) {
  return POSITIONS<TILE> * c * o + threads * transforms_work<Number>(c, outputs_each(o, threads));
}

// Sums of a row of positions for `outputs` outputs: (C / COLUMNS, outputs / 32, SIDE, 32, COLUMNS).
template <int row, class Number>
void sum_up(Tiles& tiles, Index n, Pictures<const Number> x, Pictures<const Number> dy,
            Index output, Index outputs, float* sums, Number* work) {
  constexpr Index GROUPED = DEPTH<Number>, MOST = CHUNK<Number>;
  const Index c = x.c;
  const Squares<TILE> squares(n, dy.h, dy.w);
  Number* v = work;                 // (SIDE, C / COLUMNS), panels
  Number* z = v + SIDE * MOST * c;  // (SIDE, MOST / GROUPED, outputs, GROUPED)
  for (Index begin = 0; begin < squares.count; begin += MOST) {
    const Index k = std::min(MOST, up_to(GROUPED, squares.count - begin));
    for (Index s = 0; s < k; s += GROUPED) {
      const SquareGroup<SIDE, Number> of_x(x, squares, begin + s);
      for (Index channel = 0; channel < c; channel += COLUMNS) {
        Number* panel = v + channel * MOST + s * COLUMNS;
        of_x.template transform<row, Filtering<TILE>::B>(
            channel, [=](int p, int half, int l, Words words) {
              put(panel + p * MOST * c + (2 * l + half) * LANES * GROUP<Number>, words);
            });
      }
      const SquareGroup<TILE, Number> of_dy(dy, squares, begin + s);
      for (Index i = 0; i < outputs; i += COLUMNS) {
        Block blocks[2][SIDE];
        of_dy.template transform<row, A>(output + i, [&](int p, int half, int l, Words words) {
          blocks[half][p][l] = words;
        });
        for (int half = 0; half < 2; ++half)
          for (int p = 0; p < SIDE; ++p) {
            turn(blocks[half][p]);
            std::memcpy(z + (p * MOST + s) * outputs + (i + half * LANES) * GROUPED,
                        blocks[half][p], sizeof(Block));
          }
      }
    }
    for (int p = 0; p < SIDE; ++p)
      for (Index i = 0; i < outputs; i += 32)
        for (Index channel = 0; channel < c; channel += COLUMNS)
          tiles.multiply(
              Rows<Number>{z + (p * MOST * outputs + i * GROUPED), GROUPED, GROUPED * outputs},
              v + (p * c + channel) * MOST, k,
              sums + SIDE * (channel * outputs + i * COLUMNS) + p * 32 * COLUMNS, 32, begin > 0);
  }
}

template <int row>
using Row = std::integral_constant<int, row>;

// dw: (O, 3, 3, C).
template <class Number>
void differentiate(const Number* x, const Number* dy, float* dw, float* work, Index n, Index c,
                   Index h, Index w, Index o, Index threads) {
  const Pictures<const Number> from{x, h, w, c}, to{dy, h - 2, w - 2, o};
  const Index outputs = outputs_each(o, threads), part = SIDE * c * outputs;
  const bool tiled = Tiles::allowed();
#pragma omp parallel num_threads(threads)
  {
    Tiles tiles(tiled);
    float* sums = work;  // (O / outputs, SIDE), what sum_up gives
    const Index before = POSITIONS<TILE> * c * o +
                         omp_get_thread_num() * transforms_work<Number>(c, outputs);
    Number* own = reinterpret_cast<Number*>(work + before);
    const auto task = [&](auto row, Index output) {
      sum_up<row.value>(tiles, n, from, to, output, outputs,
                        sums + (output / outputs * SIDE + row.value) * part, own);
    };
#pragma omp for collapse(2) schedule(dynamic)
    for (Index output = 0; output < o; output += outputs)
      for (int row = 0; row < SIDE; ++row) switch (row) {
          case 0: task(Row<0>{}, output); break;
          case 1: task(Row<1>{}, output); break;
          case 2: task(Row<2>{}, output); break;
          default: task(Row<3>{}, output);
        }
#pragma omp for collapse(2) schedule(static)
    for (Index channel = 0; channel < c; channel += LANES)
      for (Index output = 0; output < o; ++output) {
        const Index column = channel % COLUMNS, i = output % outputs, row = i % 32;
        const float* at = sums + output / outputs * SIDE * part + row * COLUMNS + column +
                          SIDE * ((channel - column) * outputs + (i - row) * COLUMNS);
        Floats all[SIDE][SIDE], kernel[3][3];
        for (int p = 0; p < POSITIONS<TILE>; ++p)
          all[p / SIDE][p % SIDE] = load(at + p / SIDE * part + p % SIDE * 32 * COLUMNS);
        sandwich<3, SIDE, G>(kernel, all);
        for (int q = 0; q < 9; ++q)
          store(dw + (output * 9 + q) * c + channel, kernel[q / 3][q % 3]);
      }
  }
}

}  // namespace

#define CONVOLUTION(kind, TILE, Number)                                                           \
  extern "C" Index winograd_work_##kind(Index c) { return convolution_work<TILE, Number>(c); }    \
  extern "C" void winograd_pack_##kind(const float* w, Number* u, Index o, Index c,               \
                                       Index threads) {                                           \
    pack<TILE>(w, u, o, c, threads);                                                              \
  }                                                                                               \
  extern "C" void winograd_convolve_##kind(const Number* x, const Number* u, Number* y,           \
                                           float* work, Index n, Index c, Index h, Index w,       \
                                           Index o, Index pad, Index threads) {                   \
    convolve<TILE>(x, u, y, work, n, c, h, w, o, pad, threads);                                   \
  }

#define GRADIENT(kind, Number)                                                                    \
  extern "C" void winograd_pack_turned_##kind(const float* w, Number* u, Index o, Index c,        \
                                              Index threads) {                                    \
    pack_turned<TILE>(w, u, o, c, threads);                                                       \
  }                                                                                               \
  extern "C" Index winograd_gradient_work_##kind(Index c, Index o, Index threads) {               \
    return gradient_work<Number>(c, o, threads);                                                  \
  }                                                                                               \
  extern "C" void winograd_gradient_##kind(const Number* x, const Number* dy, float* dw,          \
                                           float* work, Index n, Index c, Index h, Index w,       \
                                           Index o, Index threads) {                              \
    differentiate(x, dy, dw, work, n, c, h, w, o, threads);                                       \
  }

CONVOLUTION(float32_2, 2, float)
CONVOLUTION(float32_4, 4, float)
GRADIENT(float32_2, float)
#if defined(__AVX512BF16__)
CONVOLUTION(bfloat16_2, 2, bfloat16)
GRADIENT(bfloat16_2, bfloat16)
#endif

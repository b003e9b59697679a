// aten/PackedAttention.cpp: CUDA's attention kernels as torch.nn.attention.varlen, jagged tensors and other libraries
// call them: sequences of different lengths in one tensor, composed of operators sequence by sequence.

#include <ATen/TensorOperators.h>
#include <ATen/ops/_efficient_attention_backward_ops.h>
#include <ATen/ops/_efficient_attention_forward_ops.h>
#include <ATen/ops/_flash_attention_backward_ops.h>
#include <ATen/ops/_flash_attention_forward_no_dropout_inplace_ops.h>
#include <ATen/ops/_flash_attention_forward_ops.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <limits>

#include "aten/AttentionMath.h"
#include "aten/OptionalTensor.h"
#include "forward/Registrar.h"
#include "forward/checks/Strictness.h"
#include "native/Dtypes.h"

namespace torchdevice::aten {
namespace {

// NOLINTBEGIN(performance-unnecessary-value-param): kernels take SymInts by value, as their schemas say; the dispatcher
// does not recognise them behind references.

using OptionalSymInt = std::optional<c10::SymInt>;

std::vector<int64_t> values_of(const at::Tensor& tensor) {
  const at::Tensor host = tensor.to(at::kCPU, at::kLong).contiguous();
  return {host.const_data_ptr<int64_t>(), host.const_data_ptr<int64_t>() + host.numel()};
}

/// Where causal attention puts the diagonal if the numbers of queries and keys differ.
enum class Causal { kNo = 0, kFromTopLeft = 1, kFromBottomRight = 2 };

/// How the scores of every sequence are made.
struct Options {
  double scale = 1;
  double dropout = 0;
  Causal causal = Causal::kNo;
  int64_t left = -1;   ///< keys before the diagonal that a query sees; negative: all
  int64_t right = -1;  ///< keys after it
  OptionalTensor slopes = std::nullopt;
  OptionalTensor bias = std::nullopt;
};

/// A sequence's places in tensors of (tokens, heads, features).
struct Sequence {
  int64_t query_start;
  int64_t query_length;
  int64_t key_start;
  int64_t key_length;
};

using Sequences = std::vector<Sequence>;

/// Dense batches are packed ones of equal lengths.
Sequences dense_sequences(const at::Tensor& query, const at::Tensor& key) {
  Sequences result;
  for (int64_t i = 0; i < query.size(0); ++i) {
    result.push_back({i * query.size(1), query.size(1), i * key.size(1), key.size(1)});
  }
  return result;
}

/// `key_ends` of nothing: keys are in pages, of which only `key_lengths` tells.
Sequences packed_sequences(const at::Tensor& query_ends, const OptionalTensor& key_ends,
                           const OptionalTensor& key_lengths) {
  const auto query = values_of(query_ends);
  const auto key = given(key_ends) ? values_of(*key_ends) : std::vector<int64_t>(query.size());
  const auto used = given(key_lengths) ? values_of(*key_lengths) : std::vector<int64_t>();
  TORCH_CHECK(key.size() == query.size(), "cu_seqlens_q and cu_seqlens_k must have the same number of sequences");
  Sequences result;
  for (size_t i = 0; i + 1 < query.size(); ++i) {
    result.push_back({query[i], query[i + 1] - query[i], key[i], used.empty() ? key[i + 1] - key[i] : used.at(i)});
  }
  return result;
}

/// One sequence's tokens as (1, heads, tokens, features).
at::Tensor of_sequence(const at::Tensor& packed, int64_t start, int64_t length) {
  return packed.narrow(0, start, length).transpose(0, 1).unsqueeze(0);
}

AttentionRule rule_of(const Options& options, const Sequence& sequence, size_t index) {
  AttentionRule rule;
  rule.scale = options.scale;
  const int64_t shift = options.causal == Causal::kFromTopLeft ? 0 : sequence.key_length - sequence.query_length;
  if (options.causal != Causal::kNo) {
    rule.last = shift;
  } else if (options.right >= 0) {
    rule.last = shift + options.right;
  }
  if (options.left >= 0) {
    rule.first = shift - options.left;
  }
  if (given(options.bias)) {
    rule.bias = options.bias->narrow(0, static_cast<int64_t>(index), 1);
  }
  if (given(options.slopes)) {
    const auto positions = options.slopes->options();
    const at::Tensor distance =
        at::arange(sequence.key_length, positions) - at::arange(sequence.query_length, positions).unsqueeze(1) - shift;
    const at::Tensor slopes =
        options.slopes->dim() == 2 ? options.slopes->select(0, static_cast<int64_t>(index)) : *options.slopes;
    rule.bias = -slopes.view({1, -1, 1, 1}) * distance.abs();
  }
  rule.dropout = options.dropout;
  return rule;
}

/// Writes to `output` (tokens, heads, features) and `logsumexp` (heads, tokens); returns which weights dropout kept, of
/// all sequences one after the other.
at::Tensor attend_packed(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                         const Sequences& sequences, const Options& options, const at::Tensor& output,
                         const at::Tensor& logsumexp, const OptionalTensor& pages = std::nullopt) {
  std::vector<at::Tensor> kept;
  for (size_t i = 0; i < sequences.size(); ++i) {
    const Sequence& s = sequences[i];
    const auto keys = [&](const at::Tensor& packed) {
      if (!given(pages)) {
        return of_sequence(packed, s.key_start, s.key_length);
      }
      const at::Tensor used =
          pages->select(0, static_cast<int64_t>(i)).slice(0, 0, 1 + (s.key_length - 1) / packed.size(1));
      return of_sequence(packed.index_select(0, used).flatten(0, 1), 0, s.key_length);
    };
    const at::Tensor part = of_sequence(query, s.query_start, s.query_length);
    const at::Tensor part_key = keys(key);
    AttentionRule rule = rule_of(options, s, i);
    if (options.dropout > 0) {
      rule.kept = draw_kept(part, part_key, options.dropout);
      kept.push_back(rule.kept.flatten());
    }
    const auto [part_output, part_logsumexp] = attend(part, part_key, keys(value), rule);
    output.narrow(0, s.query_start, s.query_length).copy_(part_output.squeeze(0).transpose(0, 1));
    logsumexp.narrow(1, s.query_start, s.query_length).copy_(part_logsumexp.squeeze(0));
  }
  return kept.empty() ? at::Tensor() : at::cat(kept);
}

AttentionGradients attend_packed_backward(const at::Tensor& grad, const at::Tensor& query, const at::Tensor& key,
                                          const at::Tensor& value, const at::Tensor& output,
                                          const at::Tensor& logsumexp, const Sequences& sequences,
                                          const Options& options, const at::Tensor& kept, bool for_bias) {
  AttentionGradients all{at::zeros_like(query), at::zeros_like(key), at::zeros_like(value),
                         for_bias ? at::zeros_like(*options.bias) : at::Tensor()};
  int64_t weights_before = 0;
  for (size_t i = 0; i < sequences.size(); ++i) {
    const Sequence& s = sequences[i];
    AttentionRule rule = rule_of(options, s, i);
    const int64_t heads = query.size(1);
    if (options.dropout > 0) {
      const int64_t weights = heads * s.query_length * s.key_length;
      rule.kept = kept.narrow(0, weights_before, weights).view({1, heads, s.query_length, s.key_length});
      weights_before += weights;
    }
    const auto of_query = [&](const at::Tensor& t) { return of_sequence(t, s.query_start, s.query_length); };
    const auto of_key = [&](const at::Tensor& t) { return of_sequence(t, s.key_start, s.key_length); };
    const auto part = attend_backward(of_query(grad), of_query(query), of_key(key), of_key(value), of_query(output),
                                      logsumexp.narrow(1, s.query_start, s.query_length).unsqueeze(0), rule, for_bias);
    of_query(all.query).copy_(part.query);
    of_key(all.key).copy_(part.key);
    of_key(all.value).copy_(part.value);
    if (for_bias) {
      all.bias.narrow(0, static_cast<int64_t>(i), 1).copy_(part.bias);
    }
  }
  return all;
}

at::ScalarType sum_type(const at::Tensor& query) {
  return query.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

/// (heads, tokens) as CUDA's dense kernels return it: (batch, heads, sequence).
at::Tensor batched(const at::Tensor& logsumexp, int64_t batch) {
  return logsumexp.unflatten(1, {batch, -1}).transpose(0, 1).contiguous();
}
at::Tensor unbatched(const at::Tensor& logsumexp) { return logsumexp.transpose(0, 1).flatten(1, 2); }

at::Tensor no_state(const at::Tensor& like, at::IntArrayRef sizes, at::ScalarType dtype) {
  return at::zeros(sizes, like.options().dtype(dtype));
}

Options flash_options(const at::Tensor& query, std::optional<double> scale, double dropout, bool causal,
                      OptionalSymInt left, OptionalSymInt right, const OptionalTensor& slopes) {
  const auto size = [](const OptionalSymInt& window) { return window.has_value() ? window->expect_int() : -1; };
  return {attention_scale(query, scale),
          dropout,
          causal ? Causal::kFromBottomRight : Causal::kNo,
          size(left),
          size(right),
          slopes};
}

void check_flash_type(const at::Tensor& query) {
  TORCH_CHECK(query.scalar_type() == at::kHalf || query.scalar_type() == at::kBFloat16 || !forward::is_strict(),
              "FlashAttention only support fp16 and bf16 data type");
}

/// Returns the log-sum and which weights dropout kept.
std::tuple<at::Tensor, at::Tensor> flash_into(const at::Tensor& output, const at::Tensor& query, const at::Tensor& key,
                                              const at::Tensor& value, const OptionalTensor& query_ends,
                                              const OptionalTensor& key_ends, const Options& options,
                                              const OptionalTensor& key_lengths, const OptionalTensor& pages) {
  if (given(query_ends)) {
    TORCH_CHECK(given(key_ends) || (given(pages) && given(key_lengths)),
                "_flash_attention_forward on packed sequences needs cum_seq_k, or seqused_k and block_table");
    at::Tensor logsumexp = at::empty({query.size(1), query.size(0)}, query.options().dtype(sum_type(query)));
    at::Tensor kept = attend_packed(query, key, value,
                                    packed_sequences(*query_ends, given(pages) ? std::nullopt : key_ends, key_lengths),
                                    options, output, logsumexp, pages);
    return {std::move(logsumexp), std::move(kept)};
  }
  at::Tensor logsumexp =
      at::empty({query.size(2), query.size(0) * query.size(1)}, query.options().dtype(sum_type(query)));
  const at::Tensor flat = at::empty_like(query, at::MemoryFormat::Contiguous).flatten(0, 1);
  at::Tensor kept = attend_packed(query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1),
                                  dense_sequences(query, key), options, flat, logsumexp);
  output.copy_(flat.view_as(output));
  return {batched(logsumexp, query.size(0)), std::move(kept)};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor> packed_flash(
    const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, const OptionalTensor& query_ends,
    const OptionalTensor& key_ends, c10::SymInt /*max_q*/, c10::SymInt /*max_k*/, double dropout, bool causal,
    bool /*return_debug_mask*/, std::optional<double> scale, OptionalSymInt left, OptionalSymInt right,
    const OptionalTensor& key_lengths, const OptionalTensor& slopes, const OptionalTensor& pages,
    std::optional<int64_t> /*num_splits*/) {
  check_flash_type(query);
  at::Tensor output = at::empty_like(query);
  auto [logsumexp, kept] =
      flash_into(output, query, key, value, query_ends, key_ends,
                 flash_options(query, scale, dropout, causal, left, right, slopes), key_lengths, pages);
  if (!kept.defined()) {
    kept = no_state(query, {2}, at::kUInt64);
  }
  return {std::move(output), std::move(logsumexp), std::move(kept), no_state(query, {}, at::kUInt64),
          at::empty({0}, query.options())};
}

at::Tensor packed_flash_inplace(at::Tensor& output, const at::Tensor& query, const at::Tensor& key,
                                const at::Tensor& value, const OptionalTensor& query_ends,
                                const OptionalTensor& key_ends, c10::SymInt /*max_q*/, c10::SymInt /*max_k*/,
                                double dropout, bool causal, bool /*return_debug_mask*/, std::optional<double> scale,
                                OptionalSymInt left, OptionalSymInt right, const OptionalTensor& key_lengths,
                                const OptionalTensor& slopes, const OptionalTensor& pages,
                                std::optional<int64_t> /*num_splits*/) {
  check_flash_type(query);
  TORCH_CHECK(dropout == 0, "_flash_attention_forward_no_dropout_inplace does not support dropout");
  return std::get<0>(flash_into(output, query, key, value, query_ends, key_ends,
                                flash_options(query, scale, dropout, causal, left, right, slopes), key_lengths, pages));
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> packed_flash_backward(
    const at::Tensor& grad, const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
    const at::Tensor& output, const at::Tensor& logsumexp, const at::Tensor& query_ends, const at::Tensor& key_ends,
    c10::SymInt /*max_q*/, c10::SymInt /*max_k*/, double dropout, bool causal, const at::Tensor& kept,
    const at::Tensor& /*unused*/, std::optional<double> scale, OptionalSymInt left, OptionalSymInt right) {
  const Options options = flash_options(query, scale, dropout, causal, left, right, /*slopes=*/std::nullopt);
  if (query_ends.defined()) {
    auto result =
        attend_packed_backward(grad, query, key, value, output, logsumexp,
                               packed_sequences(query_ends, key_ends, /*key_lengths=*/std::nullopt), options, kept,
                               /*for_bias=*/false);
    return {std::move(result.query), std::move(result.key), std::move(result.value)};
  }
  const auto flat = [](const at::Tensor& t) { return t.flatten(0, 1); };
  const auto result =
      attend_packed_backward(flat(grad), flat(query), flat(key), flat(value), flat(output), unbatched(logsumexp),
                             dense_sequences(query, key), options, kept, /*for_bias=*/false);
  return {result.query.view(query.sizes()), result.key.view(key.sizes()), result.value.view(value.sizes())};
}

/// Efficient attention's log-sums are padded to whole blocks of queries.
int64_t padded(int64_t queries) { return (queries + 31) / 32 * 32; }

Options efficient_options(const at::Tensor& query, const OptionalTensor& bias, double dropout, int64_t mask_type,
                          std::optional<double> scale, std::optional<int64_t> window, int64_t sequences) {
  TORCH_CHECK(mask_type >= 0 && mask_type <= 2, "invalid value for custom_mask_type");
  Options options{attention_scale(query, scale), dropout, static_cast<Causal>(mask_type)};
  if (window.has_value() && *window > 0) {
    TORCH_CHECK(mask_type != 0, "window_size needs a causal custom_mask_type");
    options.left = *window - 1;
  }
  if (given(bias)) {
    TORCH_CHECK(bias->dim() == 4 && bias->size(0) == sequences,
                "torchdevice's efficient attention takes a bias for dense batches only: (batch, heads, queries, keys)");
    options.bias = bias;
  }
  return options;
}

Sequences efficient_sequences(const at::Tensor& query, const at::Tensor& key, const OptionalTensor& query_ends,
                              const OptionalTensor& key_ends, const OptionalTensor& key_lengths) {
  TORCH_CHECK(given(query_ends) == given(key_ends), "cu_seqlens_q and cu_seqlens_k must be given together");
  if (given(query_ends)) {
    return packed_sequences(*query_ends, key_ends, key_lengths);
  }
  TORCH_CHECK(!given(key_lengths), "seqlen_k needs cu_seqlens_k");
  return dense_sequences(query, key);
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, c10::SymInt, c10::SymInt> packed_efficient(
    const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, const OptionalTensor& bias,
    const OptionalTensor& query_ends, const OptionalTensor& key_ends, OptionalSymInt max_query, OptionalSymInt max_key,
    double dropout, int64_t mask_type, bool with_logsumexp, std::optional<double> scale,
    const OptionalTensor& key_lengths, std::optional<int64_t> window) {
  constexpr DtypeSet kKnown = dtype_set({at::kHalf, at::kBFloat16, at::kFloat});
  TORCH_CHECK((dtype_set({query.scalar_type()}) & kKnown) != 0 || !forward::is_strict(),
              "Only fp32, half & bf16 supported at the moment");
  const auto sequences = efficient_sequences(query, key, query_ends, key_ends, key_lengths);
  const auto count = static_cast<int64_t>(sequences.size());
  const int64_t heads = query.size(2);
  at::Tensor output = at::empty({query.size(0), query.size(1), heads, value.size(3)}, query.options());
  const at::Tensor flat_sums =
      at::empty({heads, query.size(0) * query.size(1)}, query.options().dtype(sum_type(query)));
  at::Tensor kept = attend_packed(query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1), sequences,
                                  efficient_options(query, bias, dropout, mask_type, scale, window, count),
                                  output.flatten(0, 1), flat_sums);
  const c10::SymInt queries = given(query_ends) && max_query.has_value() ? *max_query : query.sym_size(1);
  const c10::SymInt keys = max_key.has_value() ? *max_key : key.sym_size(1);
  at::Tensor logsumexp =
      at::empty({count, heads, with_logsumexp ? padded(queries.expect_int()) : 0}, flat_sums.options());
  if (with_logsumexp) {
    logsumexp.fill_(std::numeric_limits<double>::infinity());
    for (int64_t i = 0; i < count; ++i) {
      const Sequence& s = sequences[i];
      logsumexp[i].narrow(1, 0, s.query_length).copy_(flat_sums.narrow(1, s.query_start, s.query_length));
    }
  }
  if (!kept.defined()) {
    kept = no_state(query, {}, at::kLong);
  }
  return {std::move(output), std::move(logsumexp), std::move(kept), no_state(query, {}, at::kLong), queries, keys};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> packed_efficient_backward(
    const at::Tensor& grad, const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
    const OptionalTensor& bias, const at::Tensor& output, const OptionalTensor& query_ends,
    const OptionalTensor& key_ends, c10::SymInt /*max_query*/, c10::SymInt /*max_key*/, const at::Tensor& logsumexp,
    double dropout, const at::Tensor& kept, const at::Tensor& /*philox_offset*/, int64_t mask_type, bool for_bias,
    std::optional<double> scale, std::optional<int64_t> /*num_splits_key*/, std::optional<int64_t> window,
    bool /*shared_storage*/) {
  const auto sequences = efficient_sequences(query, key, query_ends, key_ends, /*key_lengths=*/std::nullopt);
  TORCH_CHECK(logsumexp.size(2) > 0 || query.numel() == 0,
              "_efficient_attention_backward needs the logsumexp of a forward with compute_log_sumexp=True");
  std::vector<at::Tensor> sums;
  sums.reserve(sequences.size());
  for (size_t i = 0; i < sequences.size(); ++i) {
    sums.push_back(logsumexp[static_cast<int64_t>(i)].narrow(1, 0, sequences[i].query_length));
  }
  const auto flat = [](const at::Tensor& t) { return t.flatten(0, 1); };
  const auto count = static_cast<int64_t>(sequences.size());
  auto result = attend_packed_backward(
      flat(grad), flat(query), flat(key), flat(value), flat(output), at::cat(sums, 1), sequences,
      efficient_options(query, bias, dropout, mask_type, scale, window, count), kept, for_bias && given(bias));
  return {result.query.view(query.sizes()), result.key.view(key.sizes()), result.value.view(value.sizes()),
          std::move(result.bias)};
}

// NOLINTEND(performance-unnecessary-value-param)

}  // namespace

void register_packed_attention(forward::Registrar& registrar) {
  registrar.implement<at::_ops::_flash_attention_forward>(TORCH_FN(packed_flash));
  registrar.implement<at::_ops::_flash_attention_forward_no_dropout_inplace>(TORCH_FN(packed_flash_inplace));
  registrar.implement<at::_ops::_flash_attention_backward>(TORCH_FN(packed_flash_backward));
  registrar.implement<at::_ops::_efficient_attention_forward>(TORCH_FN(packed_efficient));
  registrar.implement<at::_ops::_efficient_attention_backward>(TORCH_FN(packed_efficient_backward));
}

}  // namespace torchdevice::aten

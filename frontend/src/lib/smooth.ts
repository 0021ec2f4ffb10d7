/** TensorBoard's smoothing: an exponential moving average whose start is not drawn towards zero. */

/** `weight` from 0 (none) to below 1; values that are not finite stay as they are and do not count. */
export function smooth(values: Float32Array, weight: number): Float32Array {
  let last = 0;
  let unseen = 1;
  return values.map((value) => {
    if (!Number.isFinite(value)) return value;
    last = last * weight + (1 - weight) * value;
    unseen *= weight;
    return last / (1 - unseen);
  });
}

// The median of what n calls take, one after the other, in milliseconds.
export async function median(n, call) {
  const times = [];
  for (let k = 0; k < n; k++) {
    const began = performance.now();
    await call(k);
    times.push(performance.now() - began);
  }
  times.sort((a, b) => a - b);
  return times[Math.floor(n / 2)];
}

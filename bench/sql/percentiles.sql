-- Which percentiles a sample carries, and between which of its order statistics the true percentile lies.

-- p may be printed only from this many samples on: with fewer, all of them may lie below the true percentile
-- with more than 1 % probability (binomial: p^n <= 0.01).
CREATE TEMP MACRO samples_needed(p) AS ceil(ln(0.01) / ln(p))::BIGINT;

-- With fewer nightly cycles nothing is said about what images of one night share.
CREATE TEMP MACRO cycles_needed() AS 4;

-- Student's t, 97.5th percentile, for 3 and more degrees of freedom: Cornish and Fisher's expansion around the
-- normal (Abramowitz and Stegun 26.7.5), within 0.2 %.
CREATE TEMP MACRO student_t(z, df) AS
    z + (z ** 3 + z) / (4 * df)
    + (5 * z ** 5 + 16 * z ** 3 + 3 * z) / (96 * df ** 2)
    + (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / (384 * df ** 3)
    + (79 * z ** 9 + 776 * z ** 7 + 1482 * z ** 5 - 1920 * z ** 3 - 945 * z) / (92160 * df ** 4);
CREATE TEMP MACRO t975(df) AS student_t(1.959963984540054::DOUBLE, df);

-- Natural logarithm of the probability that k of n independent samples lie below the true percentile p.
CREATE TEMP MACRO ln_binomial(k, n, p) AS
    lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) + k * ln(p) + (n - k) * ln(1 - p);

-- The 95 % interval of percentile p of n independent samples, for each row of a relation (n, p): the true one
-- lies between the samples of these ranks (from 1) with at least 95 % probability, whatever the distribution
-- (David and Nagaraja, "Order Statistics", 2003, section 7.1). NULL: no sample lies far enough out.
CREATE TEMP MACRO interval_ranks(sizes) AS TABLE
    WITH cases AS (
        SELECT DISTINCT n, p FROM query_table(sizes)
    ),
    -- All but 1e-15 of the probability: nobody sums millions of terms.
    terms AS (
        SELECT n, p, exp(ln_binomial(k, n, p)) AS probability, k
        FROM (
            SELECT n, p, unnest(range(
                greatest(0, floor(n * p - 8 * sqrt(n * p * (1 - p)) - 9))::BIGINT,
                least(n, ceil(n * p + 8 * sqrt(n * p * (1 - p)) + 9))::BIGINT + 1
            )) AS k
            FROM cases
        )
    ),
    cumulated AS (
        SELECT n, p, k, sum(probability) OVER (PARTITION BY n, p ORDER BY k) AS at_most_k FROM terms
    )
    SELECT
        n, p,
        max(k) FILTER (at_most_k <= 0.025) + 1 AS low_rank,
        min(k) FILTER (at_most_k >= 0.975 AND k < n) + 1 AS high_rank
    FROM cumulated
    GROUP BY n, p;

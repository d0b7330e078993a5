/* policy/rsa_weak.c — does an RSA modulus have a weakness that can be found in microseconds? Trusts
 * its size alone, which the caller has checked. */
#include "policy/rsa_weak.h"

#include <openssl/bn.h>
#include <stddef.h>
#include <stdint.h>

/* Odd primes to 751, the bound of SP 800-56B's own test.  Those to 167 carry the ROCA fingerprint
 * (CVE-2017-15361). */
static const uint16_t primes[] = {
	3,   5,   7,   11,  13,  17,  19,  23,  29,  31,  37,  41,  43,  47,  53,  59,  61,
	67,  71,  73,  79,  83,  89,  97,  101, 103, 107, 109, 113, 127, 131, 137, 139, 149,
	151, 157, 163, 167, 173, 179, 181, 191, 193, 197, 199, 211, 223, 227, 229, 233, 239,
	241, 251, 257, 263, 269, 271, 277, 281, 283, 293, 307, 311, 313, 317, 331, 337, 347,
	349, 353, 359, 367, 373, 379, 383, 389, 397, 401, 409, 419, 421, 431, 433, 439, 443,
	449, 457, 461, 463, 467, 479, 487, 491, 499, 503, 509, 521, 523, 541, 547, 557, 563,
	569, 571, 577, 587, 593, 599, 601, 607, 613, 617, 619, 631, 641, 643, 647, 653, 659,
	661, 673, 677, 683, 691, 701, 709, 719, 727, 733, 739, 743, 751,
};
#define N_PRIMES      (sizeof primes / sizeof *primes)
#define N_ROCA_PRIMES 38

/* Is r a power of 65537 modulo p?  A modulus of the broken generator is one for every p of the
 * fingerprint, because its primes are k·M + (65537^a mod M). */
static bool roca_residue(unsigned r, unsigned p)
{
	unsigned power = 1;

	do {
		if (power == r)
			return true;
		power = power * (65537 % p) % p;
	} while (power != 1);
	return false;
}

static bool is_square_modulo(unsigned r, unsigned p)
{
	for (unsigned root = 0; root <= p / 2; root++)
		if (root * root % p == r)
			return true;
	return false;
}

/* A square (of a generator that drew the same prime twice) is a square modulo every prime.  Of
 * other numbers one in 2^N_PRIMES is, too, so the test needs all primes.  As many primes as fit a
 * machine word are multiplied first: one division of the big number serves all of them. */
bool rsa_is_weak(const BIGNUM *n, bool is_quick)
{
	const size_t n_primes = is_quick ? N_ROCA_PRIMES : N_PRIMES;
	bool roca = true, square = n_primes == N_PRIMES;

	for (size_t i = 0, from = 0; i < n_primes; from = i) {
		BN_ULONG product = 1, next;
		while (i < n_primes &&
		       !__builtin_mul_overflow(product, (BN_ULONG)primes[i], &next)) {
			product = next;
			i++;
		}
		BN_ULONG rest = BN_mod_word(n, product);
		for (size_t j = from; j < i; j++) {
			unsigned r = (unsigned)(rest % primes[j]);
			if (r == 0)
				return true;
			if (roca && j < N_ROCA_PRIMES)
				roca = roca_residue(r, primes[j]);
			square = square && is_square_modulo(r, primes[j]);
		}
	}
	return roca || square;
}

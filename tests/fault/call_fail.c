/* tests/fault/call_fail.c — LD_PRELOAD: the n-th call that a program itself makes to a library
 * fails, in the way that the library documents.  What libraries call among themselves is left
 * alone: each check of the product is tried, and only those.  Never part of the product. A call is
 * redirected before its arguments are known, so one stub fits all of them; it is written for the
 * x86-64 System V ABI (§3.2) and is absent elsewhere. */
#include <dlfcn.h>
#include <errno.h>
#include <link.h>

#include "tests/fault/fail_script.h"
#include "tests/fault/keep_env.h"

#if defined(__x86_64__)

typedef long outcome(void);

static long nothing(void) /* a NULL, or OpenSSL's 0 */
{
	errno = ENOMEM;
	return 0;
}

static long minus_one(void)
{
	errno = EIO;
	return -1;
}

static long is_no_memory(void) /* −errno */
{
	return -ENOMEM;
}

/* libraries whose 0 is success: CURLE_OUT_OF_MEMORY, and no success of PKCS#11 and the TPM */
static long is_an_error(void)
{
	return 27;
}

static long is_try_again(void) /* getaddrinfo() */
{
	return -3;
}

struct call { /* aligned, so that those of the section stand side by side */
	const char *name;
	outcome *failing;
	void *real;
} __attribute__((aligned(32)));

static struct fail_script *script;
static ElfW(Addr) own[8][2]; /* the program's code: from, to */
static unsigned n_own;

static bool is_own(ElfW(Addr) from)
{
	for (unsigned i = 0; i < n_own; i++)
		if (from >= own[i][0] && from < own[i][1])
			return true;
	return false;
}

static int exec_with_env(int dir, const char *path, char *const argv[], char *const envp[],
			 int flags)
{
	(void)envp;
	return keep_env_exec(dir, path, argv, flags);
}

/* Where the stub goes on: in the library, or in one of the outcomes above.  `from`: where the call
 * comes from. */
__attribute__((used)) static void *choose(struct call *c, ElfW(Addr) from)
{
	if (c->real == NULL) { /* a library's constructor runs before ours */
		int kept = errno;
		if ((c->real = dlsym(RTLD_NEXT, c->name)) == NULL)
			abort();
		errno = kept;
	}
	return script != NULL && is_own(from) && fail_script_next(script, c->name)
		       ? (void *)c->failing
		       : c->real;
}

/* All that carries an argument is kept over choose(): six registers, %al (how many floats) and
 * eight floats; the caller's stack is as it was. */
__asm__(".text\n"
	"call_fail_stub:\n"
	"	pushq %rbp\n"
	"	movq %rsp, %rbp\n"
	"	pushq %rdi\n"
	"	pushq %rsi\n"
	"	pushq %rdx\n"
	"	pushq %rcx\n"
	"	pushq %r8\n"
	"	pushq %r9\n"
	"	pushq %rax\n"
	"	pushq %r10\n"
	"	subq $128, %rsp\n"
	"	movups %xmm0, (%rsp)\n"
	"	movups %xmm1, 16(%rsp)\n"
	"	movups %xmm2, 32(%rsp)\n"
	"	movups %xmm3, 48(%rsp)\n"
	"	movups %xmm4, 64(%rsp)\n"
	"	movups %xmm5, 80(%rsp)\n"
	"	movups %xmm6, 96(%rsp)\n"
	"	movups %xmm7, 112(%rsp)\n"
	"	movq %r11, %rdi\n"
	"	movq 8(%rbp), %rsi\n"
	"	call choose\n"
	"	movq %rax, %r11\n"
	"	movups (%rsp), %xmm0\n"
	"	movups 16(%rsp), %xmm1\n"
	"	movups 32(%rsp), %xmm2\n"
	"	movups 48(%rsp), %xmm3\n"
	"	movups 64(%rsp), %xmm4\n"
	"	movups 80(%rsp), %xmm5\n"
	"	movups 96(%rsp), %xmm6\n"
	"	movups 112(%rsp), %xmm7\n"
	"	addq $128, %rsp\n"
	"	popq %r10\n"
	"	popq %rax\n"
	"	popq %r9\n"
	"	popq %r8\n"
	"	popq %rcx\n"
	"	popq %rdx\n"
	"	popq %rsi\n"
	"	popq %rdi\n"
	"	popq %rbp\n"
	"	jmp *%r11\n");

#define CALL(function, how)                                                                        \
	__attribute__((used, section("calls"))) static struct call call_##function = {#function,   \
										      how, NULL};  \
	__asm__(".globl " #function "\n"                                                           \
		".type " #function ",@function\n" #function ":\n"                                  \
		"	leaq call_" #function "(%rip), %r11\n"                                     \
		"	jmp call_fail_stub\n");

/* Every function of a library that keybrokerd, keybrokerctl and keybroker-guest call and that
 * reports a failure.  Not here: what closes or frees, what only looks at an object, clocks, and
 * what fails for a wrong argument alone. */

/* libc: memory and text */
CALL(malloc, nothing)
CALL(calloc, nothing)
CALL(realloc, nothing)
CALL(reallocarray, nothing)
CALL(aligned_alloc, nothing)
CALL(strdup, nothing)
CALL(putenv, minus_one)
CALL(strndup, nothing)
CALL(asprintf, minus_one)
CALL(__asprintf_chk, minus_one) /* the same, where it is fortified */
CALL(vasprintf, minus_one)
CALL(__vasprintf_chk, minus_one)
/* libc: files */
CALL(open, minus_one)
CALL(openat, minus_one)
CALL(read, minus_one)
CALL(__read_chk, minus_one)
CALL(pread, minus_one)
CALL(write, minus_one)
CALL(pwrite, minus_one)
CALL(stat, minus_one)
CALL(lstat, minus_one)
CALL(fstat, minus_one)
CALL(access, minus_one)
CALL(faccessat, minus_one)
CALL(mkdir, minus_one)
CALL(chmod, minus_one)
CALL(chown, minus_one)
CALL(fchmod, minus_one)
CALL(fchown, minus_one)
CALL(fsync, minus_one)
CALL(fdatasync, minus_one)
CALL(ftruncate, minus_one)
CALL(flock, minus_one)
CALL(fcntl, minus_one)
CALL(ioctl, minus_one)
CALL(rename, minus_one)
CALL(renameat, minus_one)
CALL(renameat2, minus_one)
CALL(unlink, minus_one)
CALL(unlinkat, minus_one)
CALL(rmdir, minus_one)
CALL(opendir, nothing)
CALL(fdopendir, nothing)
CALL(fopen, nothing)
CALL(fwrite, nothing)
CALL(fflush, minus_one)
CALL(__realpath_chk, nothing)
CALL(realpath, nothing)
CALL(getcwd, nothing)
CALL(mmap, minus_one)
CALL(memfd_create, minus_one)
/* libc: processes and rights */
CALL(fork, minus_one)
CALL(pipe2, minus_one)
CALL(execvp, minus_one)
CALL(execveat, minus_one)
CALL(prctl, minus_one)
CALL(setrlimit, minus_one)
CALL(getrlimit, minus_one)
CALL(setgroups, minus_one)
CALL(initgroups, minus_one)
CALL(setegid, minus_one)
CALL(seteuid, minus_one)
CALL(setresgid, minus_one)
CALL(setresuid, minus_one)
CALL(getpwnam, nothing)
CALL(setenv, minus_one)
CALL(syscall, minus_one)
CALL(sigaction, minus_one)
CALL(signal, minus_one)
CALL(getrandom, minus_one)
/* libc: sockets */
CALL(socket, minus_one)
CALL(socketpair, minus_one)
CALL(bind, minus_one)
CALL(listen, minus_one)
CALL(accept4, minus_one)
CALL(connect, minus_one)
CALL(setsockopt, minus_one)
CALL(getsockopt, minus_one)
CALL(send, minus_one)
CALL(sendto, minus_one)
CALL(sendmsg, minus_one)
CALL(recv, minus_one)
CALL(recvmsg, minus_one)
CALL(poll, minus_one)
CALL(__poll_chk, minus_one)
CALL(getaddrinfo, is_try_again)
/* OpenSSL */
CALL(ASN1_TIME_set, nothing)
CALL(ASN1_TIME_to_tm, nothing)
CALL(BIO_new, nothing)
CALL(BIO_new_mem_buf, nothing)
CALL(BN_bin2bn, nothing)
CALL(BN_bn2binpad, minus_one)
CALL(BN_secure_new, nothing)
CALL(BN_to_ASN1_INTEGER, nothing)
CALL(CRYPTO_secure_malloc_init, nothing)
CALL(CRYPTO_secure_zalloc, nothing)
CALL(EC_GROUP_new_by_curve_name, nothing)
CALL(EVP_CIPHER_CTX_new, nothing)
CALL(EVP_CIPHER_CTX_set_padding, nothing)
CALL(EVP_CIPHER_fetch, nothing)
CALL(EVP_CipherInit_ex2, nothing)
CALL(EVP_CipherUpdate, nothing)
CALL(EVP_Digest, nothing)
CALL(EVP_DigestInit_ex, nothing)
CALL(EVP_DigestUpdate, nothing)
CALL(EVP_DigestFinal_ex, nothing)
CALL(EVP_DigestVerify, nothing)
CALL(EVP_DigestVerifyInit, nothing)
CALL(EVP_DigestVerifyInit_ex, nothing)
CALL(EVP_MD_CTX_new, nothing)
CALL(EVP_PKCS82PKEY, nothing)
CALL(EVP_PKEY2PKCS8, nothing)
CALL(EVP_PKEY_CTX_new, nothing)
CALL(EVP_PKEY_CTX_new_from_name, nothing)
CALL(EVP_PKEY_CTX_new_from_pkey, nothing)
CALL(EVP_PKEY_CTX_set_rsa_mgf1_md, nothing)
CALL(EVP_PKEY_CTX_set_rsa_oaep_md, nothing)
CALL(EVP_PKEY_CTX_set_rsa_padding, nothing)
CALL(EVP_PKEY_CTX_set_signature_md, nothing)
CALL(EVP_PKEY_Q_keygen, nothing)
CALL(EVP_PKEY_decrypt, nothing)
CALL(EVP_PKEY_decrypt_init, nothing)
CALL(EVP_PKEY_decrypt_init_ex, nothing)
CALL(EVP_PKEY_encrypt, nothing)
CALL(EVP_PKEY_encrypt_init_ex, nothing)
CALL(EVP_PKEY_fromdata, nothing)
CALL(EVP_PKEY_fromdata_init, nothing)
CALL(EVP_PKEY_get_bn_param, nothing)
CALL(EVP_PKEY_get_group_name, nothing)
CALL(EVP_PKEY_get_utf8_string_param, nothing)
CALL(EVP_PKEY_pairwise_check, nothing)
CALL(EVP_PKEY_public_check, nothing)
CALL(EVP_PKEY_set_utf8_string_param, nothing)
CALL(EVP_PKEY_verify, nothing)
CALL(EVP_PKEY_verify_init, nothing)
CALL(HMAC, nothing)
CALL(OPENSSL_sk_new_null, nothing)
CALL(OPENSSL_sk_push, nothing)
CALL(OSSL_PARAM_BLD_new, nothing)
CALL(OSSL_PARAM_BLD_push_BN, nothing)
CALL(OSSL_PARAM_BLD_to_param, nothing)
CALL(PEM_read_PrivateKey, nothing)
CALL(PEM_read_bio_PrivateKey, nothing)
CALL(PEM_read_bio_X509, nothing)
CALL(PEM_write_bio, nothing)
CALL(PEM_write_bio_PKCS8PrivateKey, nothing)
CALL(PEM_write_bio_X509, nothing)
CALL(RAND_bytes, nothing)
CALL(RAND_priv_bytes, nothing)
CALL(SSL_CTX_add_client_CA, nothing)
CALL(SSL_CTX_check_private_key, nothing)
CALL(SSL_CTX_ctrl, nothing)
CALL(SSL_CTX_load_verify_file, nothing)
CALL(SSL_CTX_new, nothing)
CALL(SSL_CTX_set_cipher_list, nothing)
CALL(SSL_CTX_set_ciphersuites, nothing)
CALL(SSL_CTX_set_max_early_data, nothing)
CALL(SSL_CTX_set_num_tickets, nothing)
CALL(SSL_CTX_set_purpose, nothing)
CALL(SSL_CTX_set_recv_max_early_data, nothing)
CALL(SSL_CTX_set_session_id_context, nothing)
CALL(SSL_CTX_up_ref, nothing)
CALL(SSL_CTX_use_PrivateKey, nothing)
CALL(SSL_CTX_use_certificate, nothing)
CALL(SSL_connect, minus_one)
CALL(SSL_ctrl, nothing)
CALL(SSL_new, nothing)
CALL(SSL_read_ex, nothing)
CALL(SSL_set1_host, nothing)
CALL(SSL_set_fd, nothing)
CALL(SSL_write, minus_one)
CALL(SSL_write_ex, nothing)
CALL(X509V3_EXT_conf_nid, nothing)
CALL(X509_NAME_add_entry_by_txt, nothing)
CALL(X509_STORE_CTX_init, nothing)
CALL(X509_STORE_CTX_new, nothing)
CALL(X509_STORE_add_cert, nothing)
CALL(X509_VERIFY_PARAM_set1_ip_asc, nothing)
CALL(X509_add_ext, nothing)
CALL(X509_check_host, nothing)
CALL(X509_check_ip_asc, nothing)
CALL(X509_check_issued, is_an_error)
CALL(X509_check_private_key, nothing)
CALL(X509_new, nothing)
CALL(X509_set1_notAfter, nothing)
CALL(X509_set_issuer_name, nothing)
CALL(X509_set_pubkey, nothing)
CALL(X509_set_version, nothing)
CALL(X509_sign, nothing)
CALL(X509_verify, minus_one)
CALL(X509_verify_cert, minus_one)
CALL(d2i_AutoPrivateKey, nothing)
CALL(d2i_PKCS8_PRIV_KEY_INFO, nothing)
CALL(d2i_X509, nothing)
CALL(i2d_PKCS8_PRIV_KEY_INFO, minus_one)
CALL(i2d_X509, minus_one)
/* jansson, cjose, p11-kit */
CALL(json_loadb, nothing)
CALL(json_dump_callback, minus_one)
CALL(cjose_jwk_create_EC_spec, nothing)
CALL(cjose_jwk_create_RSA_spec, nothing)
CALL(cjose_jws_import, nothing)
CALL(cjose_jws_verify, nothing)
CALL(p11_kit_module_load, nothing)
CALL(p11_kit_module_initialize, is_an_error)
CALL(p11_kit_uri_new, nothing)
CALL(p11_kit_uri_parse, minus_one)
CALL(p11_kit_uri_format, minus_one)
CALL(p11_kit_uri_set_attribute, minus_one)
CALL(p11_kit_uri_get_attribute, nothing)
/* libevent */
CALL(bufferevent_enable, minus_one)
CALL(bufferevent_openssl_socket_new, nothing)
CALL(bufferevent_socket_new, nothing)
CALL(bufferevent_write, minus_one)
CALL(evbuffer_drain, minus_one)
CALL(evbuffer_pullup, nothing)
CALL(event_add, minus_one)
CALL(event_assign, minus_one)
CALL(event_base_dispatch, minus_one)
CALL(event_base_new, nothing)
CALL(event_base_new_with_config, nothing)
CALL(event_config_new, nothing)
CALL(event_config_set_flag, minus_one)
CALL(event_new, nothing)
CALL(evutil_make_socket_nonblocking, minus_one)
/* libcurl, libseccomp, tpm2-tss */
CALL(curl_easy_getinfo, is_an_error)
CALL(curl_easy_init, nothing)
CALL(curl_easy_setopt, is_an_error)
CALL(curl_global_init, is_an_error)
CALL(curl_multi_add_handle, is_an_error)
CALL(curl_multi_init, nothing)
CALL(curl_multi_perform, is_an_error)
CALL(curl_multi_poll, is_an_error)
CALL(curl_slist_append, nothing)
CALL(seccomp_attr_set, is_no_memory)
CALL(seccomp_init, nothing)
CALL(seccomp_load, is_no_memory)
CALL(seccomp_rule_add, is_no_memory)
CALL(seccomp_rule_add_array, is_no_memory)
CALL(Esys_Certify, is_an_error)
CALL(Esys_CreatePrimary, is_an_error)
CALL(Esys_EvictControl, is_an_error)
CALL(Esys_GetCapability, is_an_error)
CALL(Esys_Initialize, is_an_error)
CALL(Esys_PolicyGetDigest, is_an_error)
CALL(Esys_PolicyPCR, is_an_error)
CALL(Esys_RSA_Decrypt, is_an_error)
CALL(Esys_ReadPublic, is_an_error)
CALL(Esys_StartAuthSession, is_an_error)
CALL(Esys_TRSess_SetAttributes, is_an_error)
CALL(Esys_TR_FromTPMPublic, is_an_error)
CALL(Tss2_MU_TPMT_SIGNATURE_Marshal, is_an_error)
CALL(Tss2_TctiLdr_Initialize, is_an_error)

static int program_code(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	(void)arg;
	for (unsigned i = 0; i < info->dlpi_phnum && n_own < sizeof own / sizeof own[0]; i++)
		if (info->dlpi_phdr[i].p_type == PT_LOAD &&
		    (info->dlpi_phdr[i].p_flags & PF_X) != 0) {
			own[n_own][0] = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
			own[n_own][1] = own[n_own][0] + info->dlpi_phdr[i].p_memsz;
			n_own++;
		}
	return 1; /* the first is the program */
}

extern struct call __start_calls[], __stop_calls[];

/* All are looked up before a sandbox is on. */
__attribute__((constructor)) static void begin(int argc, char **argv)
{
	call_malloc.real = dlsym(
		RTLD_NEXT,
		"malloc"); /* these before one that is not found: the error's text needs memory */
	call_calloc.real = dlsym(RTLD_NEXT, "calloc");
	call_realloc.real = dlsym(RTLD_NEXT, "realloc");
	for (struct call *c = __start_calls; c < __stop_calls; c++)
		c->real = dlsym(RTLD_NEXT,
				c->name); /* NULL: of a library that this program does not have */
	call_execveat.real = (void *)exec_with_env;
	dl_iterate_phdr(program_code, NULL);
	script = fail_script_map(argc, argv);
}

#endif
